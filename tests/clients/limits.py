"""What clients cannot do, each with its reason in words. A run of the matrix proves that each is still so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clients.servers import FILE, GATEWAY, HTTP_SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.programs import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that does not work: for which client, way and server, and why."""

    applies: Callable[[Program, str, str], bool]
    words: str


def _pip_before(*release: int) -> Callable[[Program], bool]:
    return lambda program: program.name == "pip" and program.release < release


_OLD_UV = (1,)  # whatever has a number is the older of the two

LIMITS = (
    Limit(
        applies=lambda program, way, _: way == "pylock" and _pip_before(26, 1)(program),
        words="pip reads `pylock.toml` from 26.1 on; the `requirements` lock says the same to all of them.",
    ),
    Limit(
        applies=lambda program, way, server: (
            program.name == "uv" and program.release < _OLD_UV and way == "pylock" and server != FILE
        ),
        words="uv of 2025 reads `pylock.toml` from a file, not from an address.",
    ),
    Limit(
        applies=lambda program, way, server: (
            program.name == "uv" and program.release > _OLD_UV and way == "pylock" and server != FILE
        ),
        words="uv reads `pylock.toml` from an address, but looks for the files that it names on its own disk, from the "
        "working directory; a lock in the mirror's own directory works. Use the `requirements` lock.",
    ),
    Limit(
        applies=lambda _, way, server: way == "simple" and server in {FILE, HTTP_SERVER},
        words="`/simple/` is a name that a server gives; in the tree itself the same index is `whl/`.",
    ),
    Limit(
        applies=lambda program, way, _: way.startswith("yanked") and _pip_before(19, 2)(program),
        words="pip knows yanked files from 19.2 on (PEP 592); before, it takes them like any other. Do not fetch "
        "yanked files for such machines.",
    ),
    Limit(
        applies=lambda program, way, server: (
            program.name == "uv" and program.release < _OLD_UV and server == FILE and "flat" in way
        ),
        words="uv of 2025 takes a `file://` address after `--find-links` for a directory of wheels; name the directory "
        "(`whl/cu121`, and `whl` for what comes from other indexes), or use `--index-url`.",
    ),
    Limit(
        applies=lambda program, way, server: (
            program.name == "uv" and way == "yanked, flat" and not (program.release < _OLD_UV and server == FILE)
        ),
        words="uv takes yanked files from a flat page, with a warning, though the page marks them; from an index it "
        "does not. Use `--index-url`.",
    ),
    Limit(
        # The matrix has one gateway for all clients, so the first of them meets this: 19.3 does, too, when it is first.
        applies=lambda program, way, server: way == "flat page" and server == GATEWAY and _pip_before(19)(program),
        words="Upstream's flat pages do not say which Python a file requires, and a gateway knows it only of files "
        "that it holds. pip before 20.3 takes the newest file and refuses it; when it is tried again, the page says "
        "so. Use `--index-url`.",
    ),
    Limit(
        applies=lambda program, _, server: program.name == "poetry" and server == FILE,
        words="Poetry reads indexes over HTTP alone.",
    ),
)


def limit_of(program: Program, way: str, server: str) -> Limit | None:
    """The first limit that applies."""
    return next((limit for limit in LIMITS if limit.applies(program, way, server)), None)
