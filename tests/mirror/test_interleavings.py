"""Any order of pieces, breaks, savings, kills and beginnings anew ends in the right bytes or the right error."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mirror.interleavings import play

if TYPE_CHECKING:
    import pytest


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_whatever_happens_the_end_is_right_and_the_sidecar_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    play(random.Random(seed).randrange, tmp_path_factory.mktemp("case"))
