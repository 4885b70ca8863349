"""Runs inside a network namespace: makes its network, and tells of every packet that is not for the mirror.

The namespace has a loopback interface alone, and the whole address space is routed to it: an attempt to reach anybody
is a packet that can be seen here, whoever makes it, whatever becomes of it. Names are asked of a resolver that answers
every question with an address where nobody listens, so that whoever would go outside also tries to.

    python -m tests.clients.watcher DIRECTORY

prints ``ready``, and then for each line on its standard input one line of JSON: what was seen since the last.
"""

from __future__ import annotations

import ipaddress
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.clients.enclosure import ADDRESS, NAME, RESOLVER

_PACKET_OUTGOING = 4  # linux/if_packet.h; on loopback every packet comes by a second time, as received
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ETH_P_ALL, _IPV4, _IPV6 = 3, 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_SYN, _ACK = 0x02, 0x10
_DNS = 53
_NOWHERE = "203.0.113.7"  # TEST-NET-3 (RFC 5737)


def set_up_network(directory: Path) -> None:
    """Make the network, the resolver's settings, and the mirror's name."""
    commands = [
        "ip link set lo up",
        f"ip address add {ADDRESS}/32 dev lo",
        "ip route add local 0.0.0.0/0 dev lo",
    ]
    if Path("/proc/net/if_inet6").exists():
        commands.append("ip -6 route add local ::/0 dev lo")
    for command in commands:
        subprocess.run(command.split(), check=True)
    texts = {"/etc/resolv.conf": f"nameserver {RESOLVER}\n", "/etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n"}
    for path, text in texts.items():
        ours = directory / Path(path).name
        ours.write_text(text, encoding="ascii")
        subprocess.run(["mount", "--bind", str(ours), path], check=True)


def describe(packet: bytes, protocol: int) -> str | None:
    """Say what a packet tries; None if it is the mirror's, or this machine's own, or only an answer."""
    if protocol == _IPV4:
        kind, body = packet[9], packet[(packet[0] & 15) * 4 :]
        source, destination = (ipaddress.ip_address(packet[at : at + 4]) for at in (12, 16))
    elif protocol == _IPV6:
        kind, body = packet[6], packet[40:]
        source, destination = (ipaddress.ip_address(packet[at : at + 16]) for at in (8, 24))
    else:
        return None
    if str(destination) == ADDRESS or destination.is_loopback or kind not in {_TCP, _UDP}:
        return None
    from_port, port = struct.unpack("!HH", body[:4])
    if kind == _TCP:
        return f"connection to {destination} port {port}" if body[13] & (_SYN | _ACK) == _SYN else None
    if str(source) == RESOLVER and from_port == _DNS:
        return None
    if port == _DNS:
        name = read_question(body[8:])
        return None if name == NAME else f"look-up of {name}"
    return f"datagram to {destination} port {port}"


def read_question(message: bytes) -> str:
    """Read the name that a DNS message asks for (RFC 1035, section 4.1.2)."""
    labels, at = [], 12
    while at < len(message) and message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "replace"))
        at += 1 + message[at]
    return ".".join(labels)


def render_answer(message: bytes) -> bytes:
    """Answer a question for an IPv4 address with one where nobody is, and others with nothing."""
    end = message.index(b"\0", 12) + 5
    wants_address = message[end - 4 : end - 2] == b"\0\1"
    header = message[:2] + struct.pack("!HHHHH", 0x8180, 1, int(wants_address), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHLH", 1, 1, 60, 4) + socket.inet_aton(_NOWHERE)
    return header + message[12:end] + (record if wants_address else b"")


def watch() -> None:
    """Watch until standard input ends."""
    seen: list[str] = []
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    sniffer.setblocking(False)  # noqa: FBT003
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((RESOLVER, _DNS))
    selector = selectors.DefaultSelector()
    for source in (sniffer, resolver, sys.stdin.fileno()):
        selector.register(source, selectors.EVENT_READ)
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    def take_packets() -> None:
        while True:
            try:
                packet, (_, protocol, kind, *_) = sniffer.recvfrom(512)
            except BlockingIOError:
                return
            if kind == _PACKET_OUTGOING and (told := describe(packet, protocol)) is not None:
                seen.append(told)

    while True:
        ready = {key.fileobj for key, _ in selector.select()}
        take_packets()
        if resolver in ready:
            question, asker = resolver.recvfrom(512)
            resolver.sendto(render_answer(question), asker)
        if sys.stdin.fileno() in ready:
            if not os.read(sys.stdin.fileno(), 1 << 16):
                return
            _, lost = struct.unpack("II", sniffer.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            sys.stdout.write(json.dumps({"seen": seen, "lost": lost}) + "\n")
            sys.stdout.flush()
            seen.clear()


if __name__ == "__main__":
    set_up_network(Path(sys.argv[1]))
    watch()
