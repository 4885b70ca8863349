"""The selection written down: ``pylock.<name>.toml`` (PEP 751) and hash-pinned requirements.

Both are for one target: every wheel is named with its hash, nothing is left to be chosen. PEP 751 admits a lock without
``dependencies``; the ``environments`` marker says which machines it is for, so that an installer elsewhere refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import tomli_w
from packaging.markers import Marker
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.version import Version

from pytorch_offline.addresses import without_credentials
from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.specifiers import SpecifierSet

    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.filename import WheelName

CREATED_BY = "pytorch-offline"
LOCK_VERSION = Version("1.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel of a lock: exactly one of ``url`` and ``path`` says where it is.

    ``path`` is relative to the lock and holds a literal ``+``: pip quotes it for a lock on disk, and joins it unquoted
    for a lock behind an address (research/mirrors.md, section 8).
    """

    name: WheelName
    sha256: str
    size: int | None = None
    url: str | None = None
    path: str | None = None
    upload_time: str | None = None
    requires_python: SpecifierSet | None = None


def locked_at_origin(selection: Selection) -> tuple[LockedWheel, ...]:
    """Lock a selection to the addresses that its indexes gave.

    Raises:
        UpstreamError: ``hash-not-published`` if an index publishes no hash for a wheel, since a lock without a hash
            proves nothing.
    """
    wheels = []
    for choice in selection.choices:
        link = choice.candidate.file.link
        if link.sha256 is None:
            raise UpstreamError(
                "hash-not-published",
                f"the index publishes no hash for {link.filename}, so it cannot be locked before it is fetched",
                facts={"page": without_credentials(choice.candidate.file.page_url)},
                hint="run fetch: it computes the hash from the bytes and writes the lock into the mirror",
            )
        wheels.append(
            LockedWheel(
                name=choice.candidate.file.name,
                sha256=link.sha256,
                size=link.size,
                url=without_credentials(link.url),
                upload_time=link.upload_time,
                requires_python=choice.metadata.requires_python if choice.metadata is not None else None,
            )
        )
    return tuple(wheels)


def render_pylock(wheels: Sequence[LockedWheel], target: Target) -> str:
    """Render ``pylock.<name>.toml``; the same input gives the same bytes."""
    packages = [
        Package(
            name=wheel.name.project,
            version=wheel.name.version,
            requires_python=wheel.requires_python,
            wheels=[
                PackageWheel(
                    name=wheel.name.filename,
                    upload_time=_parse_time(wheel.upload_time),
                    url=wheel.url,
                    path=wheel.path,
                    size=wheel.size,
                    hashes={"sha256": wheel.sha256},
                )
            ],
        )
        for wheel in sorted(wheels, key=lambda one: one.name.project)
    ]
    lock = Pylock(
        lock_version=LOCK_VERSION,
        environments=[Marker(environment_marker(target))],
        created_by=CREATED_BY,
        packages=packages,
    )
    return tomli_w.dumps(lock.to_dict(), multiline_strings=False)


def environment_marker(target: Target) -> str:
    """Say in a marker which machines a target's lock is for: interpreter, system and architecture."""
    keys = ("implementation_name", "python_version", "sys_platform", "platform_machine")
    return " and ".join(f"{key} == '{target.marker_environment[key]}'" for key in keys)


def render_requirements(wheels: Sequence[LockedWheel], target: Target) -> str:
    """Render hash-pinned requirements, one line per wheel, that every pip with ``--require-hashes`` understands."""
    python = target.marker_environment["python_full_version"]
    lines = [
        f"# {CREATED_BY}: the closure for target {target.name} (Python {python}, {target.system} {target.machine}).",
        "# Install with: pip install --no-index --require-hashes --no-deps --find-links DIRECTORY -r THIS_FILE",
    ]
    lines += [render_pin(wheel.name, wheel.sha256) for wheel in sorted(wheels, key=lambda one: one.name.project)]
    return "\n".join(lines) + "\n"


def render_pin(name: WheelName, sha256: str) -> str:
    """Render one hash-pinned requirement, which every pip with ``--require-hashes`` understands."""
    return f"{name.project}=={name.version} --hash=sha256:{sha256}"


def _parse_time(text: str | None) -> datetime | None:
    """Read an upload time; one that is not ISO 8601 with an offset is left out, since a lock may not guess."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
