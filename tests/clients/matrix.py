"""The client matrix: every client, every way, every server, in a network that holds the mirror alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clients.downloads import TOOLS, TYPED, find, resume
from tests.clients.enclosure import REPOSITORY
from tests.clients.limits import LIMITS, limit_of
from tests.clients.servers import FILE, GATEWAY, HTTP_SERVER, SERVERS, start
from tests.clients.ways import LINES, WAYS, carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.clients.enclosure import Enclosure
    from tests.clients.programs import Installed
    from tests.clients.ways import Place

PROJECT = "project"
# A gateway has the locks that `fetch` wrote into its mirror, and this one's is empty at first.
_WITH_LOCKS = {"requirements", "pylock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One client, one way, one server.

    Args:
        limit: the reason that is known for a failure; None where there should be none.
        asked: the attempts to reach anybody else.
    """

    client: str
    way: str
    server: str
    fine: bool
    limit: str | None
    asked: tuple[str, ...]
    said: str

    @property
    def surprise(self) -> bool:
        """Whether it is not as it is known to be."""
        return self.fine == (self.limit is not None) or bool(self.asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A tool that reads or downloads, tried with one server: whether it worked, and what it said."""

    tool: str
    server: str
    fine: bool
    said: str


def try_clients(
    clients: Iterable[Installed],
    mirror: Path,
    directory: Path,
    enclosure: Enclosure,
    *,
    servers: Sequence[str] = SERVERS,
    told: Callable[[Cell], None],
) -> tuple[list[Cell], list[Tried]]:
    """Try all clients with all servers; ``told`` hears of each cell when it is there."""
    cells: list[Cell] = []
    tried: list[Tried] = []
    clients = list(clients)
    for server in servers:
        mark = server.strip(":/")
        with start(server, mirror, directory / f"{mark}-server", within=enclosure.within) as place:
            enclosure.seen()
            for number, client in enumerate(clients):
                for at, way in enumerate(WAYS[client.program.name]):
                    if server == GATEWAY and way.name in _WITH_LOCKS:
                        continue
                    limit = limit_of(client.program, way.name, server)
                    here = directory / f"{mark}-{number}-{at}"
                    outcome = carry_out(way.plan(client, place), here, within=enclosure.within)
                    cell = Cell(
                        client=label(client),
                        way=way.name,
                        server=server,
                        fine=outcome.fine,
                        limit=None if limit is None else limit.words,
                        asked=tuple(enclosure.seen()),
                        said=outcome.said,
                    )
                    cells.append(cell)
                    told(cell)
                    shutil.rmtree(here)
            tried += try_tools(place, server, directory / f"{mark}-tools", enclosure)
    return cells, tried


def try_tools(place: Place, server: str, directory: Path, enclosure: Enclosure) -> list[Tried]:
    """Let the tools fetch half a wheel, and the independent reader read every page."""
    tried = []
    for tool in filter(find, TOOLS):
        fine, said = resume(tool, place, "3.10", directory / tool, within=enclosure.within)
        tried.append(Tried(tool=tool, server=server, fine=fine, said=said))
    if place.over_http and server != GATEWAY:  # whose pages know what upstream's do
        form = ["--html-alone"] if server == HTTP_SERVER else []
        command = [sys.executable, "-m", "tests.clients.reader", place.url, str(place.root), *form]
        here = [*enclosure.within, "env", "--chdir", str(REPOSITORY)]
        done = subprocess.run([*here, *command], capture_output=True, text=True, check=False)
        tried.append(
            Tried(tool="pypi-simple", server=server, fine=done.returncode == 0, said=done.stdout + done.stderr)
        )
    return tried


def label(client: Installed) -> str:
    """Name a client in the table."""
    return f"{client.program.name} {client.version} ({client.program.python})"


# As text --------------------------------------------------------------------------------------------------------------


def render(cells: Sequence[Cell], tried: Sequence[Tried]) -> str:
    """Render the tables and the reasons, in Markdown."""
    noted: dict[str, int] = {}
    rows = _rows(cells, noted)
    tools = _tool_rows(tried, noted)
    typed = [f"| {way.name} | `{way.typed}` |" for way in LINES]
    projects = [way.typed for ways in WAYS.values() for way in ways if way.name == PROJECT]
    typed.append(f"| {PROJECT} | {'; '.join(projects)} |")
    notes = [f"{number}. {words}" for words, number in noted.items()]
    counted = f"{len(cells)} installations: {sum(cell.fine for cell in cells)} came out right, "
    counted += f"{sum(not cell.fine for cell in cells)} did not, each for one of the reasons below. "
    counted += f"{sum(bool(cell.asked) for cell in cells)} asked anybody but the mirror."
    ways = ["| way | typed after `pip install` or `uv pip install` |", "|---|---|", *typed]
    return "\n".join([counted, "", *rows, "", *tools, "", *notes, "", _WORDS, "", *ways])


_WORDS = (
    "MIRROR is the mirror's address; WHEEL that of torch's wheel, with `%2B` or, as WHEEL+, with a plus sign; "
    "REQUIREMENTS and PYLOCK are the locks in `MIRROR/locks/`."
)


def _rows(cells: Sequence[Cell], noted: dict[str, int]) -> list[str]:
    ways = [*(way.name for way in LINES), PROJECT]
    rows = [f"| client (Python) | {' | '.join(ways)} | asks nobody else |", f"|{'---|' * (len(ways) + 2)}"]
    for client in dict.fromkeys(cell.client for cell in cells):
        own = [cell for cell in cells if cell.client == client]
        shown = [_cell([cell for cell in own if cell.way == way], noted) for way in ways]
        asked = sum(bool(cell.asked) for cell in own)
        rows.append(f"| {client} | {' | '.join([*shown, 'yes' if asked == 0 else f'no, {asked} times'])} |")
    return rows


def _cell(cells: Sequence[Cell], noted: dict[str, int]) -> str:
    if not cells:
        return "-"
    failed = [cell for cell in cells if not cell.fine]
    if not failed:
        return "yes"
    notes = {_note(cell.limit or "not understood", noted) for cell in failed}
    marks = " ".join(f"[{note}]" for note in sorted(notes))
    if len(failed) == len(cells):
        return f"no {marks}"
    return f"not {', '.join(cell.server for cell in failed)} {marks}"


_TOOL_LIMITS: Mapping[tuple[str, str], str] = {
    ("curl", HTTP_SERVER): "Python's `http.server` knows no ranges: curl gives up, wget begins again and ends right.",
    ("wget", HTTP_SERVER): "Python's `http.server` knows no ranges: curl gives up, wget begins again and ends right.",
    ("wget", FILE): "wget does not read files.",
}


def known_tool_limit(tool: str, server: str) -> str | None:
    """The reason for which a tool does not work with a server."""
    return _TOOL_LIMITS.get((tool, server))


def _tool_rows(tried: Sequence[Tried], noted: dict[str, int]) -> list[str]:
    servers = list(dict.fromkeys(one.server for one in tried))
    rows = [f"| tool | {' | '.join(servers)} |", f"|{'---|' * (len(servers) + 1)}"]
    typed = {**TYPED, "pypi-simple": "pypi-simple, every page in both forms"}
    for tool in dict.fromkeys(one.tool for one in tried):
        shown = []
        for server in servers:
            found = [one for one in tried if (one.tool, one.server) == (tool, server)]
            if not found:
                shown.append("-")
            elif found[0].fine:
                shown.append(f"yes ({found[0].said.strip()})" if tool == "pypi-simple" else "yes")
            else:
                shown.append(f"no [{_note(known_tool_limit(tool, server) or 'not understood', noted)}]")
        rows.append(f"| {typed[tool]} | {' | '.join(shown)} |")
    return rows


def _note(words: str, noted: dict[str, int]) -> int:
    return noted.setdefault(words, len(noted) + 1)


def unproved(cells: Sequence[Cell]) -> list[str]:
    """The reasons that no cell of a whole run needed, which are to be struck out."""
    needed = {cell.limit for cell in cells if not cell.fine}
    return [limit.words for limit in LIMITS if limit.words not in needed]
