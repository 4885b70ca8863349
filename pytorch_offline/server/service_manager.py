"""Telling systemd how it goes (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

READY, STOPPING = "READY=1", "STOPPING=1"


def notify(*words: str) -> None:
    """Tell the service manager that started us, if one did and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or address[0] not in "/@":
        return
    if address[0] == "@":  # Linux's abstract names
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:  # it is no matter of life
        mouth.sendto("\n".join(words).encode(), address)


def reloading() -> tuple[str, str]:
    """Say that we read everything again, as Type=notify-reload wants it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
