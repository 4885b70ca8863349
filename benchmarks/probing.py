"""One client who asks for a page twenty times a second, to see how long it waits beside others, for ``serving.py``.

    python -m benchmarks.probing '{"url": …, "seconds": 5, "accept": "text/html"}'

Prints JSON: the ``median`` and the ``p99`` of the waits in ms, and how many ``failures`` there were. A wait that has
not ended after the seconds counts as it is.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

_EVERY_S = 0.05


def probe(plan: dict[str, Any]) -> dict[str, float]:
    """Ask, each time over a new connection, as a client that comes does."""
    parts = urlsplit(plan["url"])
    waits, failures = [], 0
    until = time.perf_counter() + plan["seconds"]
    while (began := time.perf_counter()) < until:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=max(0.1, until - began))
        try:
            connection.request("GET", parts.path, headers={"Accept": plan["accept"]})
            connection.getresponse().read()
        except (OSError, HTTPException):
            failures += 1
        finally:
            connection.close()
        took = time.perf_counter() - began
        waits.append(took * 1000)
        time.sleep(max(0.0, _EVERY_S - took))
    ordered = sorted(waits)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"median": statistics.median(ordered), "p99": p99, "failures": failures}


def main() -> None:
    """Probe, and say how long it took."""
    print(json.dumps(probe(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
