"""The target file: a strict writer and a lenient reader.

The keys ``marker_environment`` and ``compatible_tags`` are those that ``pex3 interpreter inspect --markers --tags``
prints, so that such a file is a valid target too. The reader ignores keys that it does not know, takes repeated tags
once, and takes a fact that is absent as unknown; it never fills a gap from the machine that it runs on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from packaging.tags import InvalidTag, Tag, parse_tag
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.target import probe
from pytorch_offline.target.devices import with_known_capabilities
from pytorch_offline.target.model import MARKER_VARIABLES, Accelerator, AcceleratorKind, Device, Libc, Target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MANYLINUX = re.compile(r"manylinux_([0-9]{1,2})_([0-9]{1,2})_")
_MUSLLINUX = re.compile(r"musllinux_([0-9]{1,2})_([0-9]{1,2})_")
# Bounded, because a list is as long as such a number: nobody gets a tag list of a million rungs out of a file.
_DOTTED_PAIR = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})")
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9_+-]+")
# 100 characters leave room for "requirements." and ".txt" around a target's name on every file system.
_MAX_NAME_LENGTH = 100
# A full list of the newest interpreter on the newest glibc has about 3000 tags and 150 kB.
_MAX_TAGS = 20_000
_MAX_FILE_BYTES = 8 * 1024 * 1024


def safe_name(text: str) -> str:
    """Make a target's name, which file names are made of, out of any text.

    It holds no dot: pip reads ``pylock.NAME.toml`` as a lock only if NAME has none (PEP 751).
    """
    name = _UNSAFE_IN_NAMES.sub("-", text.replace(".", "_")).strip("-_")[:_MAX_NAME_LENGTH]
    return name or "target"


@dataclass(frozen=True, slots=True)
class _Node:
    """A JSON value and the dotted key at which it stands, for errors that say where."""

    value: Any
    key: str = ""

    def wrong(self, expected: str) -> NoReturn:
        where = f"key {self.key!r}" if self.key else "the document"
        shown = json.dumps(self.value)[:80]
        raise UsageError(
            "bad-target-file", f"{where} must be {expected}, not {shown}", facts={"key": self.key, "value": shown}
        )

    def __getitem__(self, name: str) -> _Node:
        """Go to a member; one that is absent is null, as an unknown fact is."""
        if not isinstance(self.value, dict):
            self.wrong("an object")
        return _Node(self.value.get(name), f"{self.key}.{name}" if self.key else name)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and name in self.value

    @property
    def known(self) -> bool:
        return self.value is not None

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.wrong("a string")
        return self.value

    def members(self) -> list[tuple[str, _Node]]:
        if not isinstance(self.value, dict):
            self.wrong("an object")
        return [(name, self[name]) for name in self.value]

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            self.wrong("a list")
        return [_Node(item, f"{self.key}[{index}]") for index, item in enumerate(self.value)]

    def version(self) -> Version | None:
        if not self.known:
            return None
        try:
            return Version(self.text())
        except ValueError:  # InvalidVersion, or a number of thousands of digits
            self.wrong("a version")

    def pair(self) -> tuple[int, int]:
        match = _DOTTED_PAIR.fullmatch(self.text())
        if match is None:
            self.wrong('two numbers, as in "8.0"')
        return int(match[1]), int(match[2])


def parse_target(text: str) -> Target:
    """Read a target file's text.

    Raises:
        UsageError: ``bad-target-file`` if it is no target; the message and the fact ``key`` name the key.
    """
    try:
        document = _Node(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "bad-target-file",
            f"the text is not JSON: {error}",
            hint="a target is what `pytorch-offline detect -o FILE` writes, or a text such as nvidia-smi prints",
        ) from error
    version = document["format"]
    if version.known and version.value != probe.FORMAT:
        version.wrong(f"{probe.FORMAT} (a newer pytorch-offline may have written this file)")
    markers = _parse_markers(document["marker_environment"])
    tags = _parse_tags(document["compatible_tags"])
    learnt = document["learnt_from"]
    learnt_from = {key: node.text() for key, node in learnt.members()} if learnt.known else {}
    libc = _parse_libc(document["libc"])
    if "libc" not in document and (libc := libc_of_tags(tags)):  # pex does not write it, and its tags state it
        learnt_from["libc"] = "compatible_tags"
    name, python_from = document["name"], document["python_from"]
    return Target(
        name=safe_name(name.text()) if name.known else "target",
        marker_environment=MappingProxyType(markers),
        tags=tags,
        libc=libc,
        pip=document["pip"].version(),
        accelerator=_parse_accelerator(document["accelerator"]),
        python_from=python_from.text() if python_from.known else None,
        learnt_from=MappingProxyType(learnt_from),
    )


def _parse_markers(node: _Node) -> dict[str, str]:
    missing = [name for name in MARKER_VARIABLES if not node[name].known]
    if missing:
        raise UsageError(
            "bad-target-file",
            f"marker values are missing: {', '.join(missing)}",
            facts={"key": f"{node.key}.{missing[0]}"},
            hint="describe the machine with `pytorch-offline detect --standalone -o probe.py` and `python3 probe.py`",
        )
    markers = {name: node[name].text() for name in MARKER_VARIABLES}
    full = markers["python_full_version"]
    try:
        Version(f"{full}local" if full.endswith("+") else full)
    except ValueError:
        node["python_full_version"].wrong("a Python version")
    return markers


def _parse_tags(node: _Node) -> tuple[Tag, ...]:
    tags: dict[Tag, None] = {}
    items = node.items()
    if len(items) > _MAX_TAGS:
        message = f"key {node.key!r} has {len(items)} tags; no machine has more than {_MAX_TAGS}"
        raise UsageError("bad-target-file", message, facts={"key": node.key})
    for item in items:
        try:
            parsed = parse_tag(item.text(), limit=1)
        except (InvalidTag, ValueError):
            item.wrong("one tag, as in cp310-cp310-manylinux_2_17_x86_64")
        tags[next(iter(parsed))] = None
    if not tags:
        node.wrong("a list with at least one tag")
    return tuple(tags)


def libc_of_tags(tags: Iterable[Tag]) -> Libc | None:
    """Read the C library out of the tags that a machine accepts: the newest manylinux or musllinux is its own."""
    platforms = {tag.platform for tag in tags}
    for name, pattern in (("glibc", _MANYLINUX), ("musl", _MUSLLINUX)):
        versions = [(int(found[1]), int(found[2])) for item in platforms if (found := pattern.match(item))]
        if versions:
            return Libc(name=name, version=max(versions))
    return None


def _parse_libc(node: _Node) -> Libc | None:
    if not node.known:
        return None
    return Libc(name=node["name"].text(), version=node["version"].pair())


def _parse_accelerator(node: _Node) -> Accelerator | None:
    if not node.known:
        return None
    kind = node["kind"].text()
    if kind not in {item.value for item in AcceleratorKind}:
        node["kind"].wrong(f"one of {', '.join(AcceleratorKind)}")
    devices = node["devices"]
    system = node["driver_system"]
    return Accelerator(
        kind=AcceleratorKind(kind),
        driver=node["driver"].version(),
        cuda=node["cuda"].version(),
        devices=tuple(_parse_device(item) for item in devices.items()) if devices.known else (),
        driver_system=system.text() if system.known else None,
        l4t=node["l4t"].version(),
    )


def accelerator_of(document: dict[str, Any] | None) -> Accelerator | None:
    """Make an accelerator of the value that the probe makes, which is that of the target file."""
    return _parse_accelerator(_Node(document, "accelerator"))


def _parse_device(node: _Node) -> Device:
    name, capability, gfx = node["name"], node["compute_capability"], node["gfx"]
    return Device(
        name=name.text() if name.known else None,
        compute_capability=capability.pair() if capability.known else None,
        gfx=gfx.text() if gfx.known else None,
    )


def target_document(target: Target) -> dict[str, Any]:
    """Make the target file's JSON value; equal targets make equal documents."""
    libc = target.libc
    conda = {"python_from": target.python_from} if target.python_from else {}
    return {
        "format": probe.FORMAT,
        "name": target.name,
        "marker_environment": {name: target.marker_environment[name] for name in MARKER_VARIABLES},
        "compatible_tags": [str(tag) for tag in target.tags],
        "libc": {"name": libc.name, "version": ".".join(map(str, libc.version))} if libc else None,
        "pip": str(target.pip) if target.pip else None,
        **conda,
        "accelerator": _accelerator_document(target.accelerator) if target.accelerator else None,
        "learnt_from": dict(sorted(target.learnt_from.items())),
    }


def _accelerator_document(accelerator: Accelerator) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": accelerator.kind.value}
    if accelerator.kind in {AcceleratorKind.NONE, AcceleratorKind.MPS} and accelerator == Accelerator(
        kind=accelerator.kind
    ):
        return document
    document["driver"] = accelerator.driver_text
    document["cuda"] = str(accelerator.cuda) if accelerator.cuda else None
    if accelerator.driver_system is not None:
        document["driver_system"] = accelerator.driver_system
    if accelerator.l4t is not None:
        document["l4t"] = str(accelerator.l4t)
    document["devices"] = [_device_document(device) for device in accelerator.devices]
    return document


def _device_document(device: Device) -> dict[str, Any]:
    capability = device.compute_capability
    document: dict[str, Any] = {
        "name": device.name,
        "compute_capability": f"{capability[0]}.{capability[1]}" if capability else None,
    }
    return document if device.gfx is None else document | {"gfx": device.gfx}


def render_target(target: Target) -> str:
    """Write a target file's text; ``parse_target`` gives the same target back."""
    return json.dumps(target_document(target), indent=2) + "\n"


def read_target(path: Path) -> Target:
    """Read a target file; the target is named after the file, so that two captures never share a name.

    Raises:
        UsageError: ``bad-target-file`` if it cannot be read or is no target, naming the file and the key.
    """
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_FILE_BYTES + 1)
        text = probe.decoded(body)
    except (OSError, ValueError) as error:
        raise UsageError(
            "bad-target-file",
            f"target file {path} cannot be read: {getattr(error, 'strerror', None) or error}",
            facts={"file": str(path)},
        ) from error
    if len(body) > _MAX_FILE_BYTES:
        message = f"target file {path} is larger than {_MAX_FILE_BYTES // 1024**2} MiB, so it is none"
        raise UsageError("bad-target-file", message, facts={"file": str(path)})
    try:
        target = parse_target(text)
    except UsageError as error:
        raise UsageError(
            error.code,
            f"target file {path} cannot be used: {error.message}",
            facts={"file": str(path)} | error.facts,
            hint=error.hint,
        ) from error
    return with_known_capabilities(replace(target, name=safe_name(path.stem)))


def write_text_file(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        UsageError: ``cannot-write`` if the place does not let us.
    """
    try:
        probe.write_file(path, text.encode("utf-8"))
    except (OSError, ValueError) as error:  # ValueError: a path without a name, such as "."
        raise UsageError(
            "cannot-write",
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}",
            facts={"file": str(path)},
        ) from error
