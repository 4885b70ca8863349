"""Two network namespaces with a long line between them; what is run in the far one sees every packet late.

Where the kernel has netem, a pair of veth devices and ``tc`` do it. Where it has not, each namespace gets a TUN device
with the usual MTU of 1,500 bytes, and a process of ours carries the packets over and holds each for half of the round
trip. The devices hand over segments of up to 64 KiB with what the kernel wants to know of them (``IFF_VNET_HDR``, as
for virtual machines), so that TCP's windows grow as on a real line and Python still carries several hundred MB/s.

By hand, ``python -m benchmarks.delay_line [MILLISECONDS]`` makes a line and says how long a round trip takes. It needs
root.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 0x01, 0x02, 0x04
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_LARGEST = 1 << 17  # a segment of 64 KiB with its headers
# How many packets a device and a line may hold: 200 MB of full segments, so that nothing is ever lost.
_QUEUE = "4000"
_KNOCK = """
import socket, sys, time
def knock():
    began = time.perf_counter()
    with socket.socket() as connection:
        connection.connect_ex((sys.argv[1], 9))
    return time.perf_counter() - began
print(sorted(knock() for _ in range(9))[4])
"""

NEAR, FAR = "10.11.12.1", "10.11.12.2"


class DelayLine:
    """A line with a round trip of so many seconds, as long as the context lasts.

    ``near`` and ``far`` are what to put before a command to run it in the one namespace or the other; whoever listens
    in the near one is found at the address ``NEAR``.
    """

    def __init__(self, round_trip: float) -> None:
        self.by = ""
        self._round_trip = round_trip
        self._names = (f"po-near-{os.getpid()}", f"po-far-{os.getpid()}")
        self._stack = ExitStack()
        self.near, self.far = (["ip", "netns", "exec", name] for name in self._names)

    def __enter__(self) -> Self:
        with self._stack:
            for name in self._names:
                _run("ip", "netns", "add", name)
                self._stack.callback(_run, "ip", "netns", "delete", name)
            self._connect()
            for prefix, device, address in ((self.near, "near", NEAR), (self.far, "far", FAR)):
                _run(*prefix, "ip", "address", "add", f"{address}/24", "dev", device)
                _run(*prefix, "ip", "link", "set", device, "txqueuelen", _QUEUE, "up")
                _run(*prefix, "ip", "link", "set", "lo", "up")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measured(self) -> float:
        """Measure the round trip in seconds: how long it takes to be refused where nobody listens."""
        done = subprocess.run(
            [*self.far, sys.executable, "-c", _KNOCK, NEAR], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def _connect(self) -> None:
        near, far = self._names
        try:
            _run("ip", "link", "add", "near", "netns", near, "type", "veth", "peer", "name", "far", "netns", far)
            for prefix, device in ((self.near, "near"), (self.far, "far")):
                delay = f"{self._round_trip * 500:g}ms"
                _run(*prefix, "tc", "qdisc", "add", "dev", device, "root", "netem", "delay", delay, "limit", "200000")
            self.by = "netem"
        except (OSError, subprocess.CalledProcessError):
            with suppress(subprocess.CalledProcessError):
                _run(*self.near, "ip", "link", "delete", "near")
            self._connect_by_hand()
            self.by = "a process between two TUN devices"

    def _connect_by_hand(self) -> None:
        devices = [_open_device(name, device) for name, device in zip(self._names, ("near", "far"), strict=True)]
        carrier = os.fork()
        if carrier == 0:
            try:
                carry(devices[0], devices[1], self._round_trip / 2)
            finally:
                os._exit(1)
        for device in devices:
            os.close(device)

        def end() -> None:
            os.kill(carrier, 9)
            os.waitpid(carrier, 0)

        self._stack.callback(end)


def carry(near: int, far: int, delay: float) -> None:
    """Carry packets between two devices, each ``delay`` seconds late, for ever."""
    other = {near: far, far: near}
    waiting: deque[tuple[float, int, bytes]] = deque()  # both ways take the same time, so one queue is in order
    poll = select.poll()
    for device in other:
        os.set_blocking(device, False)
        poll.register(device, select.POLLIN)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, device, packet = waiting.popleft()
            with suppress(OSError):  # the device is going away
                os.write(device, packet)
            now = time.monotonic()
        pause = None if not waiting else max(0.0, waiting[0][0] - now) * 1000
        for device, _ in poll.poll(pause):
            for _ in range(32):  # and then see who is due
                try:
                    packet = os.read(device, _LARGEST)
                except BlockingIOError:
                    break
                waiting.append((time.monotonic() + delay, other[device], packet))


def _open_device(namespace: str, device: str) -> int:
    """Make a TUN device in a namespace; it lives as long as its file."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as home, Path("/run/netns", namespace).open() as place:
        if library.setns(place.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
            fcntl.ioctl(file, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6)
            return file
        finally:
            library.setns(home.fileno(), _CLONE_NEWNET)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Make a line and say what it is like."""
    milliseconds = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
    with DelayLine(milliseconds / 1000) as line:
        sys.stdout.write(f"{line.by}: a round trip takes {line.measured() * 1000:.1f} ms\n")


if __name__ == "__main__":
    main()
