"""Small wheels made to order, good ones and bad ones, for the tests of this room."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

from pytorch_offline.wheels.filename import WheelName, parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "demo_pkg-1.0+cpu-py3-none-any.whl"
DIST_INFO = "demo_pkg-1.0+cpu.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0+cpu\nRequires-Dist: sympy\n\nA demonstration.\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

# Of members: for the mirror's gate, and for the far side's own check before an installer sees a wheel.
UNSAFE_NAMES = (
    "../evil",
    "a/../../evil",
    "/etc/passwd",
    "C:/evil",
    "c:evil",
    "a\\..\\evil",
    "a//b",
    "./a",
    "a\nb",
    "x" * 2000,
    "x" * 256,
    "\u202egpj.py",
)
SAFE_NAMES = ("a", "a/b", "a/", "a..b/c", "torch-2.4.0+cu121.dist-info/RECORD", "ä/日本.py", "..a")


def wheel_name(filename: str = NAME) -> WheelName:
    return parse_wheel_name(filename)


def contents(dist_info: str = DIST_INFO) -> dict[str, bytes]:
    """Give the members of a good wheel, all but RECORD."""
    return {
        "demo_pkg/__init__.py": b"answer = 42\n",
        "demo_pkg/data.bin": bytes(range(256)) * 40,
        f"{dist_info}/METADATA": METADATA,
        f"{dist_info}/WHEEL": WHEEL,
    }


def record_row(name: str, data: bytes, algorithm: str = "sha256") -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip("=")
    return f"{name},{algorithm}={digest},{len(data)}"


def record(members: Mapping[str, bytes], dist_info: str = DIST_INFO) -> bytes:
    rows = [record_row(name, data) for name, data in members.items() if not name.endswith("/")]
    return ("\n".join([*rows, f"{dist_info}/RECORD,,"]) + "\n").encode()


def entry(name: str, mode: int = 0o100644, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def build(members: Mapping[str, bytes], record_body: bytes | None = None, *, dist_info: str = DIST_INFO) -> bytes:
    """Zip the members, then RECORD: made from the members unless it is given."""
    body = record(members, dist_info) if record_body is None else record_body
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**members, f"{dist_info}/RECORD": body}.items():
            archive.writestr(entry(name, mode=0o40755 if name.endswith("/") else 0o100644), data)
    return file.getvalue()


def good_wheel() -> bytes:
    return build(contents())
