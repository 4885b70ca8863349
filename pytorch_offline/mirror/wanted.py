"""From a selection to files for the mirror, and from the mirror's verified files to locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.crawler.siblings import Index, learn_index, sibling_addresses
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.model import MirrorFile, WantedFile
from pytorch_offline.mirror.places import place_of
from pytorch_offline.selector.lock import LockedWheel, render_pylock, render_requirements
from pytorch_offline.selector.model import Source
from pytorch_offline.target.codec import render_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from pytorch_offline.selector.model import Choice, Selection


def wanted_files(selections: Iterable[Selection], upstreams: Iterable[str] = ()) -> tuple[WantedFile, ...]:
    """List the files of all selections, each once, with every address where it may be had.

    ``upstreams`` are the addresses where the pages of the indexes in use begin: what they linked teaches which of
    their hosts hold the same files (``siblings.py``).
    """
    selections = tuple(selections)
    links = [
        choice.candidate.file.link.url
        for selection in selections
        for choice in selection.choices
        if choice.candidate.source is Source.UPSTREAM
    ]
    indexes = [learn_index(address, links) for address in upstreams]
    wanted: dict[PurePosixPath, WantedFile] = {}
    for selection in selections:
        for choice in selection.choices:
            link, place = choice.candidate.file.link, place_of(choice)
            wanted.setdefault(
                place,
                WantedFile(
                    name=choice.candidate.file.name,
                    path=place,
                    urls=sibling_addresses(link.url, published=link.sha256 is not None, indexes=_of(choice, indexes)),
                    sha256=link.sha256,
                    one_of=_one_of(choice, selection),
                    size=link.size,
                    requires_python=_requires_python(choice),
                    yanked=link.yanked,
                    upload_time=link.upload_time,
                ),
            )
    return tuple(wanted.values())


def _of(choice: Choice, indexes: Sequence[Index]) -> Sequence[Index]:
    """Say which indexes' hosts hold a chosen wheel: what another index served is that index's alone."""
    return indexes if choice.candidate.source is Source.UPSTREAM else ()


def _one_of(choice: Choice, selection: Selection) -> frozenset[str]:
    """Give the hashes that the user admits, where it is not known before the bytes are here which one it is."""
    demanded = selection.request.hashes.get(choice.candidate.project, frozenset())
    return demanded if choice.candidate.file.link.sha256 is None else frozenset()


def _requires_python(choice: Choice) -> str | None:
    """Prefer METADATA's word to the page's: upstream's own pages hardly ever have it (upstream-index.md, section 5)."""
    if choice.metadata is not None and choice.metadata.requires_python is not None:
        return str(choice.metadata.requires_python)
    return choice.candidate.file.link.requires_python or None


def render_locks(selection: Selection, held: Mapping[PurePosixPath, MirrorFile]) -> dict[str, bytes]:
    """Render a selection's files for ``locks/``: pylock, requirements and the target, from what the mirror holds.

    Raises:
        IntegrityError: ``not-in-mirror`` if a wheel of the selection is not among the mirror's verified files.
    """
    wheels = []
    for choice in selection.choices:
        place = place_of(choice)
        file = held.get(place)
        if file is None:
            raise IntegrityError("not-in-mirror", f"{place} is not among the mirror's verified files")
        wheels.append(
            LockedWheel(
                name=choice.candidate.file.name,
                sha256=file.sha256,
                size=file.size,
                path=f"../{place}",
                upload_time=file.upload_time,
                requires_python=choice.metadata.requires_python if choice.metadata is not None else None,
            )
        )
    name, target = selection.target.name, selection.target
    return {
        f"pylock.{name}.toml": render_pylock(wheels, target).encode(),
        f"requirements.{name}.txt": render_requirements(wheels, target).encode(),
        f"{name}.json": render_target(target).encode(),
    }
