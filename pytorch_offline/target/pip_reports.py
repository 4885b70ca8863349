"""What pip says of an interpreter: ``pip debug --verbose``, ``pip inspect``, ``pip install --report``; pex's JSON too.

``pip debug --verbose`` prints every tag but no marker; the markers that an interpreter's own tags and ``sys`` lines
decide are exact, and the two that describe the kernel stay unknown. ``pip inspect`` and an installation report have all
eleven markers but no tag: tags follow from them once the C library is known, for the common build of CPython.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from packaging.tags import InvalidTag, Tag, parse_tag
from packaging.version import InvalidVersion, Version

from pytorch_offline.target.codec import libc_of_tags
from pytorch_offline.target.model import MARKER_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytorch_offline.target.model import Libc

_TAGS = re.compile(r"^[ \t]*Compatible tags: ([0-9]{1,5})\b.*((?:\n[ \t]+[a-z0-9_.-]+[ \t]*(?=\n|$))*)", re.MULTILINE)
_PIP = re.compile(r"^[ \t]*pip version: pip ([0-9][0-9a-z.]*)", re.MULTILINE)
_SYS_VERSION = re.compile(r"^[ \t]*sys\.version: (3\.[0-9]{1,2}\.[0-9]{1,3}(?:(?:a|b|rc)[0-9]+)?\+?)", re.MULTILINE)
_SYS_PLATFORM = re.compile(r"^[ \t]*sys\.platform: (\w+)", re.MULTILINE)
_IMPLEMENTATION = re.compile(r"^[ \t]*sys\.implementation:\s+name: (\w+)", re.MULTILINE)
_SYSTEMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
_WINDOWS_MACHINES = {"win_amd64": "AMD64", "win_arm64": "ARM64", "win32": "x86"}
_MACHINE_OF_TAG = re.compile(r"(?:linux|(?:many|musl)linux(?:[0-9]+|_[0-9]+_[0-9]+)|macosx_[0-9]+_[0-9]+)_(\w+)")
_MAX_TAGS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterReport:
    """What pip said: ``tags`` best first and ``markers`` complete, each ``None`` where it did not say them.

    ``cut`` is true of a ``pip debug`` without ``--verbose``, which shows the first ten tags alone; those are the best,
    so the C library and the platform, in ``libc`` and ``markers``, are known even so. ``accelerator`` is that of a
    target file.
    """

    pip: Version | None = None
    tags: tuple[Tag, ...] | None = None
    markers: Mapping[str, str] | None = None
    libc: Libc | None = None
    accelerator: Mapping[str, Any] | None = None
    cut: bool = False


def parse_interpreter_report(text: str) -> InterpreterReport | None:
    """Read what pip, or pex, printed of an interpreter; ``None`` if the text is nothing of the kind."""
    return _parse_json(text) if text.lstrip().startswith("{") else _parse_debug(text)


def _parse_json(text: str) -> InterpreterReport | None:
    """Read a JSON report; lines that a shell or a warning printed around it are passed over."""
    try:
        document, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    tags = document.get("compatible_tags")
    found = document.get("marker_environment", document.get("environment"))
    accelerator = document.get("accelerator")
    markers = _markers(found) if isinstance(found, dict) else None
    if markers is None and not isinstance(tags, list):
        return None
    listed = _tags([item for item in tags if isinstance(item, str)]) if isinstance(tags, list) else None
    return InterpreterReport(
        pip=_version(document.get("pip_version", document.get("pip"))),
        tags=listed,
        libc=libc_of_tags(listed or ()),
        markers=markers,
        accelerator=accelerator if isinstance(accelerator, dict) else None,
    )


def _markers(found: Mapping[str, Any]) -> Mapping[str, str] | None:
    if not all(isinstance(found.get(name), str) for name in MARKER_VARIABLES):
        return None
    if _version(found["python_full_version"].removesuffix("+")) is None:
        return None
    return MappingProxyType({name: found[name] for name in MARKER_VARIABLES})


def _parse_debug(text: str) -> InterpreterReport | None:
    listed = _TAGS.search(text)
    if listed is None:
        return None
    tags = _tags([item for item in listed[2].split() if "-" in item])  # "..." follows a cut list
    pip = _PIP.search(text)
    cut = len(tags or ()) < int(listed[1])
    return InterpreterReport(
        pip=_version(pip[1]) if pip else None,
        tags=None if cut else tags,
        libc=libc_of_tags(tags or ()),
        markers=_markers_of_debug(text, tags) if tags else None,
        cut=cut,
    )


def _markers_of_debug(text: str, tags: tuple[Tag, ...]) -> Mapping[str, str] | None:
    """Derive the markers that an interpreter's version, implementation, platform and own tags decide."""
    version, platform = _SYS_VERSION.search(text), _SYS_PLATFORM.search(text)
    implementation = _IMPLEMENTATION.search(text)
    if version is None or platform is None or implementation is None or platform[1] not in _SYSTEMS:
        return None
    tag = next(tag.platform for tag in tags)
    machine = _WINDOWS_MACHINES.get(tag) or next(iter(_MACHINE_OF_TAG.findall(tag)), None)
    if machine is None or implementation[1] != "cpython":  # other implementations have a version of their own
        return None
    system, os_name = _SYSTEMS[platform[1]]
    return MappingProxyType(
        {
            "implementation_name": "cpython",
            "implementation_version": version[1].removesuffix("+"),
            "os_name": os_name,
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": system,
            "platform_version": "",
            "python_full_version": version[1],
            "python_version": ".".join(version[1].split(".")[:2]),
            "sys_platform": platform[1],
        }
    )


def _tags(texts: list[str]) -> tuple[Tag, ...] | None:
    tags: dict[Tag, None] = {}
    for text in texts[:_MAX_TAGS]:
        try:
            tags[next(iter(parse_tag(text, limit=1)))] = None
        except (InvalidTag, ValueError):
            return None
    return tuple(tags) or None


def _version(text: object) -> Version | None:
    try:
        return Version(text) if isinstance(text, str) else None
    except (InvalidVersion, ValueError):
        return None
