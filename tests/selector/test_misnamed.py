"""What people write instead of a requirement, and what they are told."""

from __future__ import annotations

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.requirements import parse_requirement


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("pytorch", "write torch"),
        ("PyTorch==2.4", "write torch"),
        ("pytorch-cuda==12.1", "--driver"),
        ("pytorch-cuda=11.8", "--backend cu118 forces it"),
        ("cudatoolkit=11.3", "--backend cu113 forces it"),
        ("torch=2.4.0", "'torch==2.4.0'"),
        ("torch,torchvision", "arguments: torch torchvision"),
        ("torch torchvision", "arguments: torch torchvision"),
        ("torch==2.4.x", "torch==2.4.0"),
    ],
)
def test_a_requirement_that_is_none_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_requirement(text, "command line")
    assert hint in str(caught.value.hint)
