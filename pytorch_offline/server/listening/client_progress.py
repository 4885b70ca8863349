"""How far a client has read, as the system's TCP tells it: sent to the network is not taken by the client."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

# Linux, include/uapi/linux/tcp.h: `struct tcp_info` holds tcpi_unacked at 24, tcpi_bytes_acked at 120 (since 4.1) and
# tcpi_notsent_bytes at 144 (since 4.6).
_TCP_INFO_BYTES = 148
_UNACKED, _BYTES_ACKED, _NOT_SENT = 24, 120, 144


def taken_by_client(transport: asyncio.Transport) -> tuple[int | None, bool]:
    """Ask how many bytes the client has acknowledged, and whether there are more for it; None where nobody tells."""
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_INFO", None)
    if connection is None or option is None:
        return None, False
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return None, False
    if len(told) < _TCP_INFO_BYTES:
        return None, False
    (taken,) = struct.unpack_from("=Q", told, _BYTES_ACKED)
    (unacknowledged,) = struct.unpack_from("=I", told, _UNACKED)
    (not_sent,) = struct.unpack_from("=I", told, _NOT_SENT)
    return taken, bool(unacknowledged or not_sent or transport.get_write_buffer_size())
