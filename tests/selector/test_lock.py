from __future__ import annotations

import tomllib

import pytest
from packaging.pylock import Pylock
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pytorch_offline.errors import UpstreamError
from pytorch_offline.selector.lock import (
    LockedWheel,
    environment_marker,
    locked_at_origin,
    render_pylock,
    render_requirements,
)
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import CPU
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.selector.machines import SEED, machine
from tests.selector.memory import MemoryIndex

WHEELS = (
    LockedWheel(
        name=parse_wheel_name("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"),
        sha256="a" * 64,
        size=799_000_000,
        path="../whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl",
        upload_time="2024-07-24T17:00:00Z",
        requires_python=SpecifierSet(">=3.8.0"),
    ),
    LockedWheel(
        name=parse_wheel_name("filelock-3.16.0-py3-none-any.whl"),
        sha256="b" * 64,
        path="../whl/filelock-3.16.0-py3-none-any.whl",
        upload_time="yesterday",
    ),
)


def test_pylock_is_valid_and_selects_the_wheels_for_its_target() -> None:
    lock = Pylock.from_dict(tomllib.loads(render_pylock(WHEELS, SEED)))
    lock.validate()
    picked = lock.select(environment=dict(SEED.marker_environment), tags=list(SEED.tags))  # type: ignore[arg-type]
    assert [(package.name, artifact.path) for package, artifact in picked] == [
        ("filelock", "../whl/filelock-3.16.0-py3-none-any.whl"),
        ("torch", "../whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"),
    ]


def test_pylock_refuses_another_machine() -> None:
    lock = Pylock.from_dict(tomllib.loads(render_pylock(WHEELS, SEED)))
    other = machine("win_amd64")
    with pytest.raises(Exception, match="environments"):
        list(lock.select(environment=dict(other.marker_environment), tags=list(other.tags)))  # type: ignore[arg-type]


def test_time_that_cannot_be_read_is_left_out() -> None:
    document = tomllib.loads(render_pylock(WHEELS, SEED))
    filelock, torch = document["packages"]
    assert "upload-time" not in filelock["wheels"][0]
    assert torch["wheels"][0]["upload-time"].year == 2024


def test_same_input_same_bytes_whatever_the_order() -> None:
    assert render_pylock(WHEELS, SEED) == render_pylock(tuple(reversed(WHEELS)), SEED)
    assert render_requirements(WHEELS, SEED) == render_requirements(tuple(reversed(WHEELS)), SEED)


def test_requirements_pin_version_and_hash() -> None:
    lines = [line for line in render_requirements(WHEELS, SEED).splitlines() if not line.startswith("#")]
    assert lines == [f"filelock==3.16.0 --hash=sha256:{'b' * 64}", f"torch==2.4.0+cu121 --hash=sha256:{'a' * 64}"]


def test_environment_names_what_wheels_depend_on() -> None:
    assert "platform_machine == 'x86_64'" in environment_marker(SEED)
    assert "python_version == '3.10'" in environment_marker(SEED)


def test_a_hash_that_is_not_published_cannot_be_locked() -> None:
    index = MemoryIndex()
    index.add("a-1.0-py3-none-any.whl", sha256=None, default_index=True)
    target = machine()
    selection = select(Request(requirements=(Requirement("a"),)), target, index.offers_for(target), [CPU])
    with pytest.raises(UpstreamError) as caught:
        locked_at_origin(selection)
    assert caught.value.code == "hash-not-published"
