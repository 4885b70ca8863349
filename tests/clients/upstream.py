"""The upstream that a gateway asks, as a process of its own: ``python -m tests.clients.upstream BYTES``.

Each torch is so many bytes longer than it need be. Prints the addresses of upstream and of the default index.
"""

from __future__ import annotations

import sys
import threading

from pytorch_offline.simulator.server import Simulator
from tests.clients.closure import make_spec

if __name__ == "__main__":
    with Simulator(make_spec(size=int(sys.argv[1]))) as simulator:
        sys.stdout.write(f"{simulator.url} {simulator.default_index_url}\n")
        sys.stdout.flush()
        threading.Event().wait()
