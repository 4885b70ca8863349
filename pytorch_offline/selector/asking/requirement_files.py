"""Read requirements files as pip does: lines, nested files, options.

The format is whatever pip reads (https://pip.pypa.io/en/stable/reference/requirements-file-format/, and
``pip/_internal/req/req_file.py``). Where pip passes something over in silence, this is an error that names the file,
the line and the option: words behind options, a second ``-r`` on a line, options behind a requirement that are none of
its own, a ``--hash`` without a requirement.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from pytorch_offline.addresses import redacted, redacted_text
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# A comment starts at `#` at the line's start or after white space.
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_ADDRESS = re.compile(r"(https?|file):", re.IGNORECASE)
# Longer marks before those that begin like them.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Three thousand hashes. What reads options (shlex) takes a minute for a word of a megabyte.
_LONGEST_LINE = 256 * 1024
# Deep and wide enough for every real tree of files; three files of a few lines could ask for a billion others.
_DEEPEST = 32
_MOST_FILES = 1000
_DECLARED_ENCODING = re.compile(rb"coding[:=]\s*([-\w.]+)")

_SHORT = {
    "-i": "--index-url",
    "-f": "--find-links",
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-C": "--config-settings",
}
_ALSO_CALLED = {"--pypi-url": "--index-url", "--config-setting": "--config-settings"}
_INCLUDING = frozenset({"--requirement", "--constraint"})
# Options of one requirement; all others stand on a line of their own.
_OF_A_REQUIREMENT = frozenset({"--hash", "--config-settings"})
_REPEATABLE = frozenset({"--extra-index-url", "--trusted-host", "--use-feature", *_OF_A_REQUIREMENT})
_WITH_VALUE = frozenset(
    {
        "--index-url",
        "--extra-index-url",
        "--find-links",
        "--no-binary",
        "--only-binary",
        "--all-releases",
        "--only-final",
        "--trusted-host",
        "--use-feature",
        *_INCLUDING,
        *_OF_A_REQUIREMENT,
    }
)
_WITHOUT_VALUE = frozenset({"--no-index", "--pre", "--prefer-binary", "--require-hashes", "--no-require-hashes"})
_BUILDING = frozenset({"--editable", "--global-option", "--build-option", "--install-option"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands: a file or an address without its secrets, and the line; line 0 is the command line."""

    location: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.location}, line {self.line}" if self.line else self.location


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLine:
    """A requirement as it is written, with the values of its ``--hash`` options.

    ``constraint`` if it stands in a file that was included with ``-c``.
    """

    text: str
    place: Place
    hashes: tuple[str, ...] = ()
    constraint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionLine:
    """Options that stand on a line of their own, by their long names; None is the value of one that takes none.

    ``directory`` is that of the file, which paths may be relative to; None if the file was read from the network.
    """

    options: tuple[tuple[str, str | None], ...]
    place: Place
    directory: str | None = None


def read_lines(
    location: str,
    *,
    read: Callable[[str], bytes],
    environment: Mapping[str, str],
    constraint: bool = False,
) -> Iterator[RequirementLine | OptionLine]:
    """Read a requirements file and those that it includes, in the order in which pip reads them.

    A path inside a file is relative to that file; so is an address inside a file that was read from an address. As with
    pip, what a constraints file includes with ``-r`` are requirements.

    Args:
        location: a path, or an http, https or file address.
        read: gives a location's bytes.
        environment: what ``${NAME}`` stands for.
        constraint: whether this file itself holds constraints.

    Raises:
        UsageError: ``bad-requirements-file``, ``unsupported-option``, ``unset-variable``; all name the line.
    """
    files = count(1)

    def counted(inner: str) -> bytes:
        if next(files) > _MOST_FILES:
            raise UsageError("bad-requirements-file", f"{redacted(location)} includes more than {_MOST_FILES} files")
        return read(inner)

    yield from _read_lines(location, (), read=counted, environment=environment, constraint=constraint)


def _read_lines(
    location: str,
    including: tuple[str, ...],
    *,
    read: Callable[[str], bytes],
    environment: Mapping[str, str],
    constraint: bool,
) -> Iterator[RequirementLine | OptionLine]:
    key = location if _ADDRESS.match(location) else os.path.abspath(location)  # noqa: PTH100  (addresses are no paths)
    shown = redacted(location)
    if key in including:
        raise UsageError("bad-requirements-file", f"{shown} includes itself, by {redacted(including[-1])}")
    if len(including) > _DEEPEST:
        raise UsageError("bad-requirements-file", f"{shown} is included by more than {_DEEPEST} files in a row")
    text = decode(read(location), shown)
    for number, line in logical_lines(text):
        place = Place(location=shown, line=number)
        arguments, options = _parsed(_expanded(line, environment, place), place)
        included = [(name, value) for name, value in options if name in _INCLUDING]
        if arguments:
            hashes = tuple(_own_hashes(options, place))
            yield RequirementLine(text=arguments, place=place, hashes=hashes, constraint=constraint)
        elif included:
            if len(options) > 1:
                raise _unsupported(place, options[1][0], "nothing may stand beside -r or -c: give each its own line")
            ((name, value),) = included
            yield from _read_lines(
                _inner_location(location, value or ""),
                (*including, key),
                read=read,
                environment=environment,
                constraint=name == "--constraint",
            )
        else:
            for name, _ in options:
                if name in _OF_A_REQUIREMENT:
                    raise _unsupported(place, name, "it belongs to a requirement, on the same line")
            directory = None if _ADDRESS.match(location) else os.path.dirname(key)  # noqa: PTH120  (the same)
            yield OptionLine(options=tuple(options), place=place, directory=directory)


def _inner_location(outer: str, inner: str) -> str:
    if _ADDRESS.match(outer):
        return urljoin(outer, inner)
    return inner if _ADDRESS.match(inner) else os.path.join(os.path.dirname(outer), inner)  # noqa: PTH118, PTH120


def decode(body: bytes, shown: str) -> str:
    """Decode a file by its byte order mark, by the encoding that it declares (PEP 263), else as UTF-8.

    pip then tries the encoding of the machine that it runs on; here that is an error, for another machine would read
    another text.

    Raises:
        UsageError: ``bad-requirements-file``.
    """
    encoding, start = "utf-8", 0
    for mark, name in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            encoding, start = name, len(mark)
            break
    else:
        for line in body.split(b"\n")[:2]:
            declared = _DECLARED_ENCODING.search(line) if line.startswith(b"#") else None
            if declared is not None:
                encoding = declared[1].decode("ascii", "replace")
                break
    try:
        return body[start:].decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise UsageError(
            "bad-requirements-file",
            f"requirements file {shown} cannot be read: it is no {encoding}",
            hint="save it as UTF-8, or declare its encoding in the first line: # -*- coding: latin-1 -*-",
        ) from error


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Join lines that end in a backslash, drop comments and blank lines; number each by its first line.

    A comment ends what is continued; nothing is put between the joined pieces (both as pip does).
    """
    pieces: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        comment = line.lstrip().startswith("#")
        first = first or number
        if line.endswith("\\") and not comment:
            pieces.append(line.strip("\\"))
            continue
        # The space keeps a comment a comment once it is joined to what it follows.
        pieces.append(f" {line}" if comment else line)
        yield from _uncommented(first, pieces)
        pieces, first = [], 0
    yield from _uncommented(first, pieces)


def _uncommented(first: int, pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    if line := _COMMENT.sub("", "".join(pieces)).strip():
        yield first, line


def _expanded(line: str, environment: Mapping[str, str], place: Place) -> str:
    """Put in the values of ``${NAME}``; pip leaves one that is not set as it stands, which no address survives."""
    names = Counter(_VARIABLE.findall(line))
    for name in names:
        if not environment.get(name):
            raise UsageError("unset-variable", f"{place}: the environment variable {name} is not set")
    _check_length(len(line) + sum(len(environment[name]) * times for name, times in names.items()), place)
    return _VARIABLE.sub(lambda match: environment[match[1]], line)


def _check_length(length: int, place: Place) -> None:
    if length > _LONGEST_LINE:
        raise UsageError(
            "bad-requirements-file",
            f"{place}: the line goes on for {length} characters",
            hint=f"no line of a requirements file needs more than {_LONGEST_LINE}",
        )


def _parsed(line: str, place: Place) -> tuple[str, list[tuple[str, str | None]]]:
    """Part a line into what stands before the first option, and the options by their long names.

    Only spaces part words before the options, since markers hold quotes; the options are parted as a shell does.
    """
    words = line.split(" ")
    count = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    try:
        rest = shlex.split(" ".join(words[count:]))
    except ValueError as error:
        raise UsageError(
            "unsupported-option", f"{place}: the options {redacted_text(line)!r} cannot be read: {error}"
        ) from error
    options: list[tuple[str, str | None]] = []
    while rest:
        options.append(_option(rest, place))
    for name, _ in options:
        if name not in _REPEATABLE and [other for other, _ in options].count(name) > 1:
            raise _unsupported(place, name, "give it once on a line")
    arguments = " ".join(words[:count]).strip()
    if arguments:
        for name, _ in options:
            if name not in _OF_A_REQUIREMENT:
                raise _unsupported(place, name, "it belongs on a line of its own, not behind a requirement")
    return arguments, options


def _option(rest: list[str], place: Place) -> tuple[str, str | None]:
    """Take one option, and its value, from the front of the words."""
    word = rest.pop(0)
    if not word.startswith("-") or word in {"-", "--"}:
        raise UsageError(
            "unsupported-option",
            f"{place}: {redacted_text(word)!r} stands behind an option, where nothing would read it",
            hint="markers and versions stand before the options",
        )
    name, mark, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
    name = _SHORT.get(name, _ALSO_CALLED.get(name, name))
    if name in _BUILDING:
        raise _unsupported(
            place,
            "-e" if word.startswith("-e") else name,
            "nothing is built here: leave the line out, or name the project and its version, or a wheel of it",
        )
    if name in _WITHOUT_VALUE:
        if mark:
            raise _unsupported(place, name, "it takes no value")
        return name, None
    if name not in _WITH_VALUE:
        raise _unsupported(place, name, "pip knows no such option in a file, or only an abbreviation: write it out")
    if not mark:
        if not rest:
            raise _unsupported(place, name, "its value is missing")
        value = rest.pop(0)
    if not value:
        raise _unsupported(place, name, "its value is empty")
    return name, value


def _own_hashes(options: Iterable[tuple[str, str | None]], place: Place) -> Iterator[str]:
    for name, value in options:
        if name == "--hash":
            yield parse_hash(value or "", place)


def parse_hash(text: str, place: Place) -> str:
    """Check a ``--hash`` value: ``sha256:`` and 64 hex digits, or one of the longer kinds that pip takes.

    Raises:
        UsageError: ``bad-hash``.
    """
    kind, _, digest = text.partition(":")
    length = {"sha256": 64, "sha384": 96, "sha512": 128}.get(kind)
    if length is None or re.fullmatch(f"[0-9a-fA-F]{{{length}}}", digest) is None:
        raise UsageError(
            "bad-hash",
            f"{place}: {text!r} is no hash",
            hint="a hash is written --hash=sha256:… with 64 hex digits",
        )
    return f"{kind}:{digest.lower()}"


def _unsupported(place: Place, option: str, hint: str) -> UsageError:
    return UsageError("unsupported-option", f"{place}: option {option!r} cannot be honoured here", hint=hint)
