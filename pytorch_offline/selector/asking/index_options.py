"""What options in requirements files say about indexes, as a plan of what is to be read (docs/adr/0009).

pip's words, in pip's order: ``--index-url`` replaces every index named before it, ``--extra-index-url`` adds one,
``--no-index`` leaves only ``--find-links``. An index of upstream's layout (``…/whl/cu121``, ``…/whl``) is upstream:
torch's family comes from it, built for that backend. Any other serves the projects outside the family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pytorch_offline.addresses import redacted, without_credentials
from pytorch_offline.crawler.upstream import CHANNELS, DEFAULT_UPSTREAM
from pytorch_offline.errors import UsageError
from pytorch_offline.wheels.backend import Backend, is_backend, parse_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytorch_offline.selector.asking.requirement_files import OptionLine, Place

# Features of pip (``--use-feature``) that change how it works and never what it chooses.
_FEATURES = frozenset({"truststore", "fast-deps", "inprocess-build-deps", "no-binary-enable-wheel-cache"})
_FLAT_PAGE = re.compile(r"torch_(?:stable|nightly|test|lts)\.html?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchIndex:
    """An index of upstream's layout.

    Args:
        root: the address above the backends' directories; of a flat page its own.
        channel: ``stable``, ``test`` or ``nightly``.
        backend: the backend whose directory was named; None if all were.
        flat: whether it is one page of links, for ``--find-links``.
        place: which line names it; None if the command line does.
    """

    root: str
    channel: str = "stable"
    backend: Backend | None = None
    flat: bool = False
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What all option lines come to.

    Args:
        torch_indexes: the indexes of upstream's layout.
        indexes: other indexes, in pip's order; None stands for the one that pip is configured with.
        index_url: what ``--index-url`` said last.
        find_links: pages (by address) and directories (by path) whose wheels are candidates.
        no_index: whether nothing but ``find_links`` may be read, and which line says so.
        pre: whether pre-releases are admitted.
        require_hashes: as ``--require-hashes`` and ``--no-require-hashes`` say; None where neither does.
        trusted_hosts: hosts whose certificates are not checked.
        warnings: sentences for the user.
    """

    torch_indexes: tuple[TorchIndex, ...] = ()
    indexes: tuple[str | None, ...] = (None,)
    index_url: str | None = None
    find_links: tuple[str | Path, ...] = ()
    no_index: Place | None = None
    pre: bool = False
    require_hashes: bool | None = None
    trusted_hosts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def backend(self) -> Backend | None:
        """The one backend that all torch indexes name.

        Raises:
            UsageError: ``contradiction`` if they name several.
        """
        named = [one for one in self.torch_indexes if one.backend is not None]
        if len({one.backend for one in named}) > 1:
            raise UsageError(
                "contradiction",
                "the indexes of different backends are named, and torch's family comes from one of them",
                facts={str(one.backend): f"{one.place}: {redacted(one.root)}" for one in named},
                hint="keep one; or leave all out, and the backend is chosen for the target",
            )
        return named[0].backend if named else None


def combine_options(lines: Iterable[OptionLine], *, exists: Callable[[Path], bool]) -> IndexOptions:
    """Combine option lines in their order.

    ``exists`` tells whether a path is there: as with pip, one of ``--find-links`` is relative to its file, or else to
    the working directory.

    Raises:
        UsageError: ``unsupported-option`` naming the line; ``contradiction``.
    """
    plan = _Plan()
    for line in lines:
        # Within a line the order is pip's, not the writer's.
        for name in ("--no-index", "--index-url", "--extra-index-url", "--find-links"):
            for value in (value for option, value in line.options if option == name):
                plan.locate(name, value or "", line, exists)
        for option, value in line.options:
            plan.set(option, value or "", line.place)
    return plan.result()


class _Plan:
    def __init__(self) -> None:
        self.urls: list[tuple[str | None, Place | None]] = [(None, None)]
        self.found = IndexOptions()

    def locate(self, name: str, value: str, line: OptionLine, exists: Callable[[Path], bool]) -> None:
        """Apply an option that says where to look."""
        place = line.place
        if name == "--no-index":
            self.urls = []
            self.found = replace(self.found, no_index=place)
        elif name == "--find-links":
            self._find_links(value, line, exists)
        elif self.found.no_index is None:
            if name == "--index-url":
                self._warn([url for url, _ in self.urls if url is not None], place)
                self.urls = []
                self.found = replace(self.found, index_url=_address(value, name, place))
            self.urls.append((_address(value, name, place), place))

    def _warn(self, dropped: list[str], place: Place) -> None:
        for url in dropped:
            text = f"{place}: --index-url replaces {redacted(url)}, which was named before it, as with pip"
            self.found = replace(self.found, warnings=(*self.found.warnings, text))

    def _find_links(self, value: str, line: OptionLine, exists: Callable[[Path], bool]) -> None:
        if re.match(r"https?:|file:", value, re.IGNORECASE):
            _check_address(value, "--find-links", line.place)
            flat = _flat_torch_index(value, line.place)
            if flat is not None:
                self.found = replace(self.found, torch_indexes=(*self.found.torch_indexes, flat))
                return
            source: str | Path = value
            if value.lower().startswith("file:") and not value.lower().endswith((".html", ".htm")):
                source = Path(unquote(urlsplit(value).path))
        else:
            beside = Path(line.directory, value) if line.directory is not None else Path(value)
            source = beside if exists(beside) else Path(value)
            if not exists(source):
                raise UsageError("unsupported-option", f"{line.place}: --find-links {value!r} is not there")
            if source.suffix.lower() in {".html", ".htm"}:
                source = source.absolute().as_uri()
        self.found = replace(self.found, find_links=(*self.found.find_links, source))

    def set(self, option: str, value: str, place: Place) -> None:
        """Apply an option that is no address, or refuse it."""
        objection = _objection(option, value)
        if objection is not None:
            raise _refused(place, f"{option} {value}".strip(), objection)
        if option in {"--pre", "--all-releases"}:
            self.found = replace(self.found, pre=True)
        elif option in {"--require-hashes", "--no-require-hashes"}:
            self._hashes(place, wanted=option == "--require-hashes")
        elif option == "--trusted-host":
            self.found = replace(self.found, trusted_hosts=(*self.found.trusted_hosts, value))

    def _hashes(self, place: Place, *, wanted: bool) -> None:
        if self.found.require_hashes is not None and self.found.require_hashes is not wanted:
            raise UsageError("contradiction", f"{place}: --require-hashes and --no-require-hashes exclude each other")
        self.found = replace(self.found, require_hashes=wanted)

    def result(self) -> IndexOptions:
        torch, others = [], []
        for url, place in self.urls:
            index = None if url is None or place is None else torch_index(url, place)
            if index is not None:
                torch.append(index)
            elif url not in others:
                others.append(url)
        return replace(self.found, torch_indexes=(*torch, *self.found.torch_indexes), indexes=tuple(others))


def _objection(option: str, value: str) -> str | None:
    """Say why an option cannot be honoured; None if it can, or changes nothing here."""
    if option == "--no-binary" and value != ":none:":
        return "nothing is built here: wheels alone are fetched"
    if option == "--use-feature" and value not in _FEATURES:
        return "it is not known to leave alone what is chosen"
    if option == "--only-final" or (option == "--all-releases" and value != ":all:"):
        return "pre-releases are admitted for all projects (--pre), or where a version asks for one"
    return None


def torch_index(url: str, place: Place | None = None) -> TorchIndex | None:
    """Recognise an index of upstream's layout by its address; None if it is another.

    That is one whose last segment is a backend (``https://mirror/pytorch/whl/nightly/cu126``), or that is called
    ``whl`` as upstream's own root is, maybe with a channel below.
    """
    parts = urlsplit(url)
    segments = [segment for segment in unquote(parts.path).split("/") if segment]
    if not segments:
        return None
    backend = parse_backend(segments.pop()) if is_backend(segments[-1]) else None
    channel = segments[-1] if segments and segments[-1] in CHANNELS and segments[-1] != "stable" else "stable"
    if channel != "stable":
        segments.pop()
    if backend is None and (not segments or segments[-1] != "whl"):
        return None
    root = parts._replace(path="".join(f"/{segment}" for segment in segments), query="", fragment="").geturl()
    return TorchIndex(root=root, channel=channel, backend=backend, place=place)


def _flat_torch_index(url: str, place: Place) -> TorchIndex | None:
    """Recognise upstream's flat pages: ``…/whl/torch_stable.html``, ``…/whl/cu113/torch_stable.html``."""
    segments = [segment for segment in unquote(urlsplit(url).path).split("/") if segment]
    if not segments or _FLAT_PAGE.fullmatch(segments[-1]) is None:
        return None
    backend = next((parse_backend(segment) for segment in reversed(segments[:-1]) if is_backend(segment)), None)
    channel = next((name for name in ("nightly", "test") if name in segments[:-1]), "stable")
    return TorchIndex(root=url, channel=channel, backend=backend, flat=True, place=place)


def moved(url: str, upstream: str) -> str:
    """Say where a file of PyTorch's own index lies on an upstream that stands in for it; others stay where they are."""
    plain = without_credentials(url)
    for scheme in ("https:", "http:"):
        prefix = f"{scheme}{DEFAULT_UPSTREAM.partition(':')[2]}/"
        if plain.startswith(prefix):
            return f"{upstream.rstrip('/')}/{plain.removeprefix(prefix)}"
    return url


def _address(value: str, option: str, place: Place) -> str:
    """Check an index's address; pip takes the path of a directory as well."""
    if re.match(r"https?:|file:", value, re.IGNORECASE):
        _check_address(value, option, place)
        return value
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value):
        raise _refused(place, f"{option} {redacted(value)}", "an index has an http, https or file address")
    return Path(value).absolute().as_uri()


def _check_address(value: str, option: str, place: Place) -> None:
    try:
        _ = urlsplit(value).port  # reading it checks it
    except ValueError as error:
        raise UsageError("bad-url", f"{place}: {option} {redacted(value)!r} is no address: {error}") from error


def _refused(place: Place, option: str, hint: str) -> UsageError:
    return UsageError("unsupported-option", f"{place}: option {option!r} cannot be honoured here", hint=hint)
