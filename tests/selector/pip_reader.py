"""How pip itself reads requirements files: a child process that answers for one file after the other.

Run as a program it is the child: one JSON document a line, in and out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURED = "http://configured.invalid/simple"


class PipReader:
    """Asks the child."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self, path: Path, *, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Say what pip makes of a file: ``error``, or the requirements and the options that are in force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"path": str(path), "environment": environment or {}}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def pip_reader() -> Iterator[PipReader]:
    command = [sys.executable, "-W", "ignore", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield PipReader(process)


def _answer(path: str, environment: dict[str, str]) -> dict[str, Any]:
    import logging
    import os
    from optparse import Values

    from pip._internal.index.collector import LinkCollector
    from pip._internal.index.package_finder import PackageFinder
    from pip._internal.models.release_control import ReleaseControl
    from pip._internal.models.search_scope import SearchScope
    from pip._internal.models.selection_prefs import SelectionPreferences
    from pip._internal.network.session import PipSession
    from pip._internal.req.constructors import install_req_from_parsed_requirement
    from pip._internal.req.req_file import parse_requirements

    logging.disable(logging.CRITICAL)
    os.environ.update(environment)
    options = Values({"require_hashes": False, "no_require_hashes": False, "features_enabled": []})
    with PipSession() as session:
        scope = SearchScope.create(find_links=[], index_urls=[CONFIGURED], no_index=False)
        finder = PackageFinder.create(
            link_collector=LinkCollector(session=session, search_scope=scope),
            selection_prefs=SelectionPreferences(allow_yanked=True, release_control=ReleaseControl()),
        )
        try:
            lines = []
            for parsed in parse_requirements(path, session, finder=finder, options=options):
                made = install_req_from_parsed_requirement(parsed)
                lines.append(
                    {
                        "requirement": None if made.req is None else str(made.req),
                        "link": None if made.link is None else made.link.url_without_fragment,
                        "marker": None if made.markers is None else str(made.markers),
                        "extras": sorted(made.extras),
                        "constraint": parsed.constraint,
                        "editable": parsed.is_editable,
                        "comes_from": parsed.comes_from,
                        "sha256": sorted(made.hash_options.get("sha256", [])),
                        "link_hash": None if made.link is None else made.link.hash,
                    }
                )
        except Exception as error:  # noqa: BLE001  (whatever pip raises is its way of saying no)
            return {"error": f"{type(error).__name__}: {error}"}
        control = getattr(finder, "release_control", None)
        return {
            "lines": lines,
            "index_urls": finder.index_urls,
            "find_links": finder.find_links,
            "no_index": finder.search_scope.no_index,
            "pre": control is not None and ":all:" in control.all_releases,
            "trusted_hosts": [host if port is None else f"{host}:{port}" for host, port in session.pip_trusted_origins],
            "require_hashes": options.require_hashes,
        }


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(_answer(asked["path"], asked["environment"])) + "\n")
        sys.stdout.flush()
