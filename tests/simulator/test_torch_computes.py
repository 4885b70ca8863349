"""The stand-in of torch does what the proof of an installation asks of a torch."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytorch_offline.simulator.stand_ins import stand_in_modules
from tests.interpreters import interpreter

PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from pytorch_offline.installer.torch_trial import try_torch
sys.exit(try_torch([]))
"""


@pytest.mark.parametrize("python", ["3.6", "3.11", "3.13"])
def test_the_stand_in_computes_what_the_proof_asks(python: str, tmp_path: Path) -> None:
    for path, body in stand_in_modules("torch", "2.4.0+cpu").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(body)
    command = [str(interpreter(python)), "-I", "-c", PROGRAM, str(tmp_path), str(Path(__file__).parents[2])]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    records = [json.loads(line[1:]) for line in answer.stdout.split("\n") if line.startswith("\x1e")]
    done = [record for record in records if "end" in record]
    assert not [record for record in done if "error" in record]
    assert {"cpu product", "cpu linear", "cpu convolution", "cpu threads"} <= {record["end"] for record in done}
