"""A torch that behaves as it is told: the simulator's stand-in, with devices, errors, crashes and hangs on top.

There is no GPU where these tests run; what a GPU would answer stands in ``behaviour.json`` beside the module.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_offline.installer.torch_report import TorchReport, run_trial
from pytorch_offline.simulator.stand_ins import stand_in_modules

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).parents[2]
# Stands for the text of install.py: the same function, from the package's own modules.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pytorch_offline.installer.torch_trial import try_torch
sys.path.insert(0, SITE)
sys.exit(try_torch(sys.argv[2:]))
"""
OVERLAY = '''

import json as _json, os as _os, signal as _signal, sys as _sys, time as _time, warnings as _warnings
with open(_os.path.join(_os.path.dirname(__file__), "behaviour.json")) as _file:
    _behaviour = _json.load(_file)


def _at(place):
    """Do what was told for a place: raise, crash, hang, print."""
    told = _behaviour.get("at", {}).get(place)
    if told is None:
        return
    if told.startswith("SIG"):
        _sys.stderr.write("Fatal Python error: a crash\\n")
        _sys.stderr.flush()
        _os.kill(_os.getpid(), getattr(_signal, told))
        _time.sleep(60)
    if told == "hang":
        _time.sleep(600)
    if told == "exit":
        _os._exit(3)
    raise (ImportError if place == "import" else RuntimeError)(told)


_at("import")


def _to(self, device):
    device = str(device)
    if device == "cpu":
        return self
    _at(device)
    wrong = device in _behaviour.get("wrong", [])
    return Tensor(_paired(self._values, 1.0, lambda left, right: left + right) if wrong else self._values)


Tensor.to = _to


class _Selected:
    def __init__(self, number):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class _Properties:
    total_memory = 85899345920
    multi_processor_count = 108


class _FakeNccl:
    @staticmethod
    def version():
        return (2, 21, 5)


class _FakeCuda:
    nccl = _FakeNccl()
    device = _Selected

    def is_available(self):
        for text in _behaviour.get("warnings", []):
            _warnings.warn(text)
        _at("cuda")
        return bool(_behaviour.get("devices"))

    def device_count(self):
        return len(_behaviour.get("devices", []))

    def init(self):
        raise RuntimeError(_behaviour.get("init_error", "Found no NVIDIA driver on your system."))

    def get_device_name(self, number):
        return _behaviour["devices"][number][0]

    def get_device_capability(self, number):
        return tuple(int(part) for part in _behaviour["devices"][number][1].split("."))

    def get_device_properties(self, number):
        return _Properties()

    def mem_get_info(self, number):
        return (80000000000, 85899345920)

    def get_arch_list(self):
        return _behaviour.get("architectures", [])

    def synchronize(self):
        _at("synchronize")


cuda = _FakeCuda()
'''


def write_fake_torch(site: Path, version: str = "2.4.0+cu121", **behaviour: Any) -> None:  # noqa: ANN401
    """Write a torch that behaves so; ``at`` maps a place (import, cuda, cuda:0) to what happens there."""
    for path, body in stand_in_modules("torch", version).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        overlay = OVERLAY.encode() if path.endswith("__init__.py") else b""
        (site / path).write_bytes(body + overlay)
    (site / "torch" / "behaviour.json").write_text(json.dumps(behaviour))


def try_fake_torch(place: Path, python: Path, projects: Sequence[str] = (), *, seconds: float = 60.0) -> TorchReport:
    """Run the trial on the torch in a directory."""
    work = place / "work"
    work.mkdir(exist_ok=True)
    program = PROGRAM.replace("SITE", repr(str(place)))
    return run_trial(
        str(python),
        projects,
        program,
        environment=dict(os.environ),
        work=str(work),
        now=time.monotonic,
        seconds=seconds,
    )
