"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes says something about the machine and its other work, not about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of recorded real data, which lies beside the repository and is not part of it."""
    path = Path(os.environ.get("PYTORCH_OFFLINE_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "upstream").is_dir():
        pytest.skip(f"the recorded data is not at {path} (PYTORCH_OFFLINE_SHARED)")
    return path
