"""curl, once for each client of a plan, each at its moment; prints when each was done (``scale.py --check``).

python benchmarks/taking.py '[[seconds, bytes per second or 0, url], …]'
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time


def main() -> None:
    """Start all, wait for all."""
    plan = json.loads(sys.argv[1])
    done = [0.0] * len(plan)
    began = time.perf_counter()

    def take(number: int, start: float, rate: int, url: str) -> None:
        time.sleep(max(0.0, began + start - time.perf_counter()))
        limit = ["--limit-rate", str(rate)] if rate else []
        subprocess.run(["curl", "--silent", "--fail", "--output", "/dev/null", *limit, url], check=True)
        done[number] = time.perf_counter() - began

    threads = [threading.Thread(target=take, args=(number, *one)) for number, one in enumerate(plan)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(done))


if __name__ == "__main__":
    main()
