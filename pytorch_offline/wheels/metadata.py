"""Core metadata (METADATA): what a wheel is and what it requires.

Read leniently, because upstream's files are as they are: ``packaging``'s validating mode refuses a whole file for a
``License-File`` in metadata 2.1, which setuptools wrote for years (research/libraries.md, section 2.3). The lines that
``packaging`` cannot read are put through a table of named fix-ups; what is still unreadable is reported, never dropped
in silence.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from email.errors import MessageError, MissingHeaderBodySeparatorDefect
from email.parser import HeaderParser
from typing import TYPE_CHECKING, TypeVar

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

_Read = TypeVar("_Read", Requirement, SpecifierSet)

# A METADATA file of torch has about 30 KiB; the longest descriptions seen in its closure stay under 200 KiB.
MAX_METADATA = 16 * 1024 * 1024
# The longest Requires-Dist of 2,905 recorded ones has 771 characters. Under 4,300, every run of digits still becomes an
# int (sys.set_int_max_str_digits), also when a specifier is evaluated long after it was read.
MAX_LINE = 4000

_FOLD = re.compile(r"\r?\n[ \t]+|[\r\n]+")
_EMPTY_LINE = re.compile(r"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)")
_LOST_FIELD = re.compile(r"^(?:Requires-Dist|Requires-Python)[ \t]*:", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """The fields of METADATA that choosing and resolving need.

    ``problems`` says in words which lines could not be read; the values leave those out, so whoever resolves with them
    must decide whether that is good enough. ``complete`` is false if a requirement may be among what was left out.
    ``spelling`` is the name as the file has it.
    """

    name: NormalizedName
    version: Version
    requires_dist: tuple[Requirement, ...]
    requires_python: SpecifierSet | None
    provides_extra: frozenset[NormalizedName]
    problems: tuple[str, ...]
    complete: bool = True
    spelling: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixUp:
    """One known mistake in version specifiers and how it is read: a name, an example that was seen, a rewriting."""

    name: str
    example: str
    pattern: re.Pattern[str]
    replacement: str


# Applied in order, each on top of the former, and only to specifiers that cannot be read as they stand. The mistakes
# are those that uv's resolver met on public indexes (uv-pypi-types, lenient_requirement.rs).
FIX_UPS = (
    FixUp(
        name="missing-comma",
        example=">=7.2.0<8.0.0",
        pattern=re.compile(r"(?<=[0-9*])\s*(?=(?:[<>=!~]=|[<>])\s*[0-9])"),
        replacement=",",
    ),
    FixUp(
        name="tilde-after-not-equal",
        example="!=~5.0",
        pattern=re.compile(r"!=\s*~\s*([0-9]+(?:\.[0-9]+)*)"),
        replacement=r"!=\1.*",
    ),
    FixUp(
        name="star-after-ordering",
        example=">=1.0.*",
        pattern=re.compile(r"((?:[<>~]=|[<>])\s*[0-9]+(?:\.[0-9]+)*)\.\*"),
        replacement=r"\1",
    ),
    FixUp(name="star-without-dot", example="!=3.0*", pattern=re.compile(r"(?<=[0-9])\*"), replacement=".*"),
    FixUp(name="stray-comma", example=">=3.6,", pattern=re.compile(r",(?=\s*(?:,|\)|$))|(?<=\()\s*,"), replacement=""),
    FixUp(name="stray-quote", example=">='2.7'", pattern=re.compile(r"['\"]"), replacement=""),
)


def parse_metadata(body: bytes) -> CoreMetadata:
    """Read a METADATA file.

    Raises:
        IntegrityError: ``bad-metadata`` if it is no metadata, or its Name or Version cannot be read.
    """
    if len(body) > MAX_METADATA:
        raise IntegrityError("bad-metadata", f"a METADATA file of {len(body)} bytes is not read")
    try:
        # Decoded first: bytes that are not UTF-8 then spoil their own line only.
        text = body.decode("utf-8", "replace")
        raw, unparsed = _fields(text)
    except (MessageError, ValueError, LookupError) as error:
        raise IntegrityError("bad-metadata", f"METADATA cannot be read: {error}") from error
    problems: list[str] = []
    if _LOST_FIELD.search(raw.get("description", "")) and _breaks_off(text):
        problems.append("the headers break off at a line that is none, and fields follow that readers do not see")
    complete = not problems
    problems += [
        f"{field.title()} is given {len(values)} times: {', '.join(values)}"
        for field, values in sorted(unparsed.items())
        if field == "requires-python"
    ]
    name, version = _identity(raw.get("name"), raw.get("version"))
    requirements = []
    for line in raw.get("requires_dist", []):
        requirement = parse_requirement(line)
        if requirement is None:
            problems.append(f"Requires-Dist cannot be read: {_shown(line)}")
            complete = False
        else:
            requirements.append(requirement)
    requires_python = None
    if (specifiers := raw.get("requires_python")) is not None:
        requires_python = parse_specifiers(specifiers)
        if requires_python is None:
            problems.append(f"Requires-Python cannot be read: {_shown(specifiers)}")
    extras = set()
    for line in raw.get("provides_extra", []):
        try:
            extras.add(canonicalize_name(line.strip(), validate=True))
        except InvalidName:
            problems.append(f"Provides-Extra cannot be read: {_shown(line)}")
    return CoreMetadata(
        name=name,
        version=version,
        requires_dist=tuple(requirements),
        requires_python=requires_python,
        provides_extra=frozenset(extras),
        problems=tuple(problems),
        complete=complete,
        spelling=(raw.get("name") or "").strip(),
    )


@functools.lru_cache(maxsize=16384)
def parse_requirement(line: str) -> Requirement | None:
    """Read one Requires-Dist line, with the fix-ups where it needs them; ``None`` if it cannot be read.

    The releases of a project repeat their lines, so each is read once; nobody changes what was read.
    """
    # Quotes and operators in a marker are right as they are: only what stands before it is mended.
    head, semicolon, marker = _unfolded(line).partition(";")
    return _first_readable(head, lambda text: Requirement(text + semicolon + marker))


def parse_specifiers(text: str) -> SpecifierSet | None:
    """Read version specifiers (Requires-Python), with the fix-ups where they need them; ``None`` if unreadable."""
    return _first_readable(_unfolded(text), SpecifierSet)


def _first_readable(text: str, parse: Callable[[str], _Read]) -> _Read | None:
    if len(text) > MAX_LINE:
        return None
    attempts = [text]
    for fix_up in FIX_UPS:
        mended = fix_up.pattern.sub(fix_up.replacement, attempts[-1])
        if mended != attempts[-1]:
            attempts.append(mended)
    for attempt in attempts:
        try:
            return parse(attempt)
        except (ValueError, RecursionError):  # packaging's errors are ValueErrors; a marker may nest without end
            continue
    return None


def _fields(text: str) -> tuple[RawMetadata, dict[str, list[str]]]:
    fields = parse_email(_headers(text))
    # A description that stands in a header, or headers that break off: then all of it matters.
    return parse_email(text) if "description" in fields[0] else fields


def _headers(text: str) -> str:
    """Leave out what stands behind the first empty line: the description, most of a file and nothing that is read."""
    end = _EMPTY_LINE.search(text)
    return text if end is None else text[: end.start()] + "\n"


def _identity(name: str | None, version: str | None) -> tuple[NormalizedName, Version]:
    if name is None or version is None or len(version) > MAX_LINE:
        raise IntegrityError("bad-metadata", "METADATA does not give exactly one Name and one Version")
    try:
        return canonicalize_name(name.strip(), validate=True), Version(version)
    except ValueError as error:  # InvalidName, InvalidVersion
        raise IntegrityError(
            "bad-metadata",
            f"METADATA's Name or Version cannot be read: {_shown(name)} {_shown(version)}",
        ) from error


def _breaks_off(text: str) -> bool:
    """Whether the headers end at a line that is neither a header nor empty, so that the rest counts as description."""
    return any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in HeaderParser().parsestr(text).defects)


def _unfolded(text: str) -> str:
    return _FOLD.sub(" ", text).strip()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")  # noqa: PLR2004  (enough to recognise a line)
