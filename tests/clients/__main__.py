"""Run the client matrix and write its table into docs/clients.md: ``python -m tests.clients --help``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.clients.closure import fetch
from tests.clients.enclosure import REPOSITORY, Enclosure, why_not
from tests.clients.matrix import Cell, Tried, known_tool_limit, render, try_clients, unproved
from tests.clients.nginx import find_nginx
from tests.clients.programs import PROGRAMS, install
from tests.clients.servers import NGINX, SERVERS

DOCUMENT = REPOSITORY / "docs" / "clients.md"
BEGIN, END = "<!-- made by python -m tests.clients -->\n", "<!-- end -->\n"
TORCH_BYTES = 1_000_000  # of each torch, so that half of it is something to go on from


def main() -> int:
    """Try everything; 1 where something is not as it is known to be."""
    arguments = _parser().parse_args()
    if (reason := why_not()) is not None:
        sys.stderr.write(f"{reason}\n")
        return 1
    servers = [server for server in arguments.servers.split(",") if server != NGINX or find_nginx() is not None]
    programs = [program for program in PROGRAMS if program.label.startswith(tuple(arguments.clients.split(",")))]
    clients = [client for program in programs if (client := install(program, arguments.programs)) is not None]
    with tempfile.TemporaryDirectory(prefix="clients-", ignore_cleanup_errors=True) as temporary:
        directory = Path(temporary)
        mirror = arguments.mirror or directory / "mirror"
        if not mirror.exists():
            fetch(mirror, size=TORCH_BYTES)
        with Enclosure(directory / "network") as enclosure:
            cells, tried = try_clients(clients, mirror, directory, enclosure, servers=servers, told=_tell)
    for one in tried:
        sys.stdout.write(f"{one.tool} {one.server} {'yes' if one.fine else 'no'}\n")
    surprises = [f"{cell.client}, {cell.way}, {cell.server}" for cell in cells if cell.surprise]
    surprises += [
        f"{one.tool}, {one.server}: {one.said}"
        for one in tried
        if one.fine == (known_tool_limit(one.tool, one.server) is not None)
    ]
    sys.stdout.write(f"{len(cells)} installations, {len(clients)} clients\n")
    if arguments.results is not None:
        cells, tried = _with_earlier(arguments.results, cells, tried)
    if len({cell.client for cell in cells}) == len(PROGRAMS) and {cell.server for cell in cells} == set(SERVERS):
        surprises += [f"nothing needed this reason: {words}" for words in unproved(cells)]
    if arguments.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{render(cells, tried)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    sys.stdout.writelines(f"NOT AS KNOWN: {surprise}\n" for surprise in surprises)
    return 1 if surprises else 0


def _with_earlier(results: Path, cells: list[Cell], tried: list[Tried]) -> tuple[list[Cell], list[Tried]]:
    """Put new results in the places of earlier ones, and keep all for the next time."""
    earlier = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"cells": [], "tried": []}
    old = [Cell(**{**row, "asked": tuple(row["asked"])}) for row in earlier["cells"]]
    all_cells = {(cell.client, cell.way, cell.server): cell for cell in (*old, *cells)}
    all_tried = {(one.tool, one.server): one for one in (*(Tried(**row) for row in earlier["tried"]), *tried)}
    kept = {"cells": [*map(asdict, all_cells.values())], "tried": [*map(asdict, all_tried.values())]}
    results.write_text(json.dumps(kept), encoding="utf-8")
    return list(all_cells.values()), list(all_tried.values())


def _tell(cell: Cell) -> None:
    words = f"{cell.server} | {cell.client} | {cell.way} | {'yes' if cell.fine else 'no'} | {len(cell.asked)}"
    sys.stdout.write(f"{words}\n")
    if cell.surprise:
        sys.stdout.write(f"{cell.said[-2000:]}\n{cell.asked}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="where the clients are installed, and kept")
    parser.add_argument("--mirror", type=Path, help="a mirror that holds the closure already")
    parser.add_argument("--clients", default="", help="only those whose label begins so: pip,uv newest")
    parser.add_argument("--servers", default=",".join(SERVERS), help="only these")
    parser.add_argument("--results", type=Path, help="a file that keeps results, so that a part can be run anew")
    parser.add_argument("--write", action="store_true", help="write the table into docs/clients.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
