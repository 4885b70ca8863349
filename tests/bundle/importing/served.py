"""Clients that read a mirror without a pause while bundle after bundle is merged into it: over HTTP, and from the disk.

Nobody may ever find a page that is half, a page that no edition had, or a link to what is not there or is not right.
By hand, a hundred imports by the command: ``python -m tests.bundle.importing.served``.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from tests.bundle.importing.editions import Edition, wheels
from tests.e2e.tool import run_tool
from tests.server.processes import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_JSON = "application/vnd.pypi.simple.v1+json"
_PROJECTS = ("torch", "sympy", "numpy", "triton")


def chain(length: int) -> list[Edition]:
    """Make editions of one mirror, each of which has one wheel more; all but the first are deltas."""
    names = [f"{_PROJECTS[number % 4]}-{number + 1}.0" for number in range(length)]
    made = wheels(*(f"cpu/{name}+cpu" if name.startswith("torch") else name for name in names))
    editions = [Edition(wheels=made[:1])]
    for number in range(2, length + 1):
        editions.append(Edition(wheels=made[:number]).after(editions[-1]))
    return editions


class Hammer:
    """Clients of one mirror, until the context ends; ``problems`` has what they found.

    Without ``editions``, it is not known which files a page may list together.
    """

    def __init__(self, root: Path, port: int, editions: Sequence[Edition] = (), *, clients: int = 3) -> None:
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self._root = root
        self._port = port
        self._locks = {edition.bodies["locks/requirements.node.txt"] for edition in editions}
        self._known = [{str(wheel.path.name) for wheel in edition.wheels} for edition in editions]
        self._end = threading.Event()
        works: list[Callable[[], None]] = [self._ask] * clients
        self._threads = [threading.Thread(target=self._over_and_over, args=(work,)) for work in [*works, self._look]]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _over_and_over(self, work: Callable[[], None]) -> None:
        while not self._end.is_set() and len(self.problems) < 20:
            try:
                work()
            except Exception as error:  # noqa: BLE001  (whatever it is, it is found)
                self.problems.append(f"{type(error).__name__}: {error}")

    def _expect(self, what: str, *, holds: bool, detail: object = "") -> None:
        self.seen[what] += 1
        if not holds:
            self.problems.append(f"{what}: {detail}")

    def _ask(self) -> None:
        """Read the index, its pages, and everything that they lead to, on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            index = json.loads(self._get(connection, "/whl/", _JSON))
            listed: set[str] = set()
            for project in index["projects"]:
                page = f"/whl/{project['name']}/"
                document = json.loads(self._get(connection, page, _JSON))
                names = {file["filename"] for file in document["files"]}
                self._expect("page", holds=self._is_of_an_edition(project["name"], names), detail=sorted(names))
                listed |= names
                for file in document["files"][-2:]:
                    target = urljoin(page, file["url"])
                    body = self._get(connection, target)
                    digest = hashlib.sha256(body).hexdigest()
                    self._expect("wheel", holds=digest == file["hashes"]["sha256"], detail=target)
                    self._get(connection, f"{target}.metadata")
            if self._locks:
                lock = self._get(connection, "/locks/requirements.node.txt")
                self._expect("lock", holds=lock in self._locks, detail=lock)
                flat = self._get(connection, "/whl/cpu/torch_stable.html").decode()
                self._expect("flat page", holds=flat.rstrip().endswith("</html>"), detail=flat[-100:])
        finally:
            connection.close()

    def _get(self, connection: http.client.HTTPConnection, path: str, accept: str = "*/*") -> bytes:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        self._expect("answer", holds=answer.status == 200, detail=f"{path}: {answer.status}")
        return body

    def _look(self) -> None:
        """Read pages and manifest as a static server does, from the disk; all that they name must be there."""
        whl = self._root / "whl"
        for page in sorted(whl.glob("*/index.v1+json")):
            document = json.loads(page.read_bytes())
            for file in document.get("files", ()):
                place = whl / page.parent.name / file["url"].replace("%2B", "+")
                self._expect("file on disk", holds=place.resolve().is_file(), detail=f"{page} names {file['url']}")
        manifest = json.loads((self._root / "manifest.json").read_bytes())
        held = {Path(row["path"]).name for row in manifest["files"]}
        self._expect("manifest", holds=held in self._known or not self._known, detail=sorted(held))
        for row in manifest["files"]:
            size = (self._root / row["path"]).stat().st_size
            self._expect("row", holds=size == row["size"], detail=row["path"])

    def _is_of_an_edition(self, project: str, names: set[str]) -> bool:
        own = [{one for one in known if one.startswith(f"{project}-")} for known in self._known]
        return names in own or not own


@contextmanager
def hammered(root: Path, editions: Sequence[Edition]) -> Iterator[Hammer]:
    """Serve a mirror in a process of its own, and let clients read it."""
    with ServeProcess(root) as server, Hammer(root, server.port, editions) as hammer:
        yield hammer


def main(arguments: Sequence[str] | None = None) -> int:
    """Import a hundred bundles by the command; 1 if a client found anything wrong."""
    parser = argparse.ArgumentParser(description="Import bundles while clients read.")
    parser.add_argument("--imports", type=int, default=100)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="served-") as scratch:
        root, here = Path(scratch, "far"), Path(scratch)
        editions = chain(options.imports)
        for number, edition in enumerate(editions):
            write = edition.write if number % 2 else edition.write_volumes
            write(here / str(number))
        run_tool("import", "0", "--mirror", "far", cwd=here)
        started = time.monotonic()
        with hammered(root, editions) as hammer:
            for number in range(1, options.imports):
                run_tool("import", str(number), "--mirror", "far", cwd=here)
                if hammer.problems:
                    break
            time.sleep(2)
        run_tool("verify", "--deep", "--mirror", "far", cwd=here)
    sys.stdout.write(
        f"{options.imports} imports in {time.monotonic() - started:.0f} s; {dict(hammer.seen)}; {hammer.problems}\n"
    )
    return int(bool(hammer.problems))


if __name__ == "__main__":
    sys.exit(main())
