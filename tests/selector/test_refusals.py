"""What may not be chosen, and that the error says by which rule, and what there is instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.wheels.backend import CPU, parse_backend
from tests.selector.machines import SEED, machine, nvidia
from tests.selector.memory import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

PLAIN_ADDRESS = "plain @ https://elsewhere.invalid/plain-1.0-py3-none-any.whl"


def chosen(index: MemoryIndex, *requirements: str, target: Target = SEED, **options: object) -> Selection:
    request = Request(requirements=tuple(map(Requirement, requirements)), **options)  # type: ignore[arg-type]
    return select(request, target, index.offers_for(target), [CPU, parse_backend("cu121")])


def refusal(index: MemoryIndex, *requirements: str, **options: object) -> UnsatisfiableError:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, *requirements, **options)  # type: ignore[arg-type]
    return caught.value


def versions(selection: Selection) -> dict[str, str]:
    return {choice.candidate.project: str(choice.candidate.version) for choice in selection.choices}


def index_of(*wheels: tuple[str, Sequence[str]], yanked: Sequence[str] = ()) -> MemoryIndex:
    index = MemoryIndex()
    for filename, requires in wheels:
        index.add(filename, requires, default_index=True, yanked="broken" if filename in yanked else None)
    return index


def test_a_wheel_that_requires_an_address_is_refused() -> None:
    index = index_of(("app-2.0-py3-none-any.whl", [PLAIN_ADDRESS]), ("plain-1.0-py3-none-any.whl", []))
    error = refusal(index, "app")
    assert error.code == "no-wheel"
    assert "an address instead of a version" in str(error.facts["1 fail url-requirement"])
    index.add("app-1.0-py3-none-any.whl", ["plain"], default_index=True)
    selection = chosen(index, "app")
    assert versions(selection) == {"app": "1.0", "plain": "1.0"}
    assert {one.reason for one in selection.rejected if one.project == "app"} == {"url-requirement"}
    assert versions(chosen(index, "app", no_deps=True)) == {"app": "2.0"}


@pytest.mark.parametrize("marker", ["sys_platform == 'win32'", "extra == 'more'"])
def test_an_address_that_does_not_apply_harms_nothing(marker: str) -> None:
    index = index_of(("app-2.0-py3-none-any.whl", [f"{PLAIN_ADDRESS} ; {marker}"]))
    assert versions(chosen(index, "app")) == {"app": "2.0"}
    if "extra" in marker:
        assert "1 fail url-requirement" in refusal(index, "app[more]").facts
    else:
        assert "1 fail url-requirement" in refusal(index, "app", target=machine("win_amd64")).facts


def test_a_wheel_whose_requirements_cannot_be_read_is_passed_over() -> None:
    index = index_of(("app-2.0-py3-none-any.whl", ["plain>>1 zz"]), ("app-1.0-py3-none-any.whl", []))
    selection = chosen(index, "app")
    assert versions(selection) == {"app": "1.0"}
    (rejection,) = [one for one in selection.rejected if one.project == "app"]
    assert rejection.reason == "bad-metadata"
    assert "plain>>1 zz" in rejection.detail


def test_yanked_is_named_and_not_offered_instead() -> None:
    index = index_of(
        ("app-2.0-py3-none-any.whl", []), ("app-1.0-py3-none-any.whl", []), yanked=["app-2.0-py3-none-any.whl"]
    )
    error = refusal(index, "app>1")
    assert "yanked by its publisher: broken" in str(error.facts["1 fail yanked"])
    assert error.hint is not None
    assert error.hint.endswith(": 1.0")
    assert versions(chosen(index, "app==2.0")) == {"app": "2.0"}


def test_only_wheels_within_the_bounds_are_told_of() -> None:
    index = index_of(
        ("app-3.0-cp312-cp312-win_amd64.whl", []),
        ("app-2.0-cp311-cp311-win_amd64.whl", []),
        ("app-2.0-cp312-cp312-win_amd64.whl", []),
        ("app-1.0-py3-none-any.whl", []),
    )
    assert "2 fail wheel-tags" in refusal(index, "app==2.0").facts
    beyond = refusal(index, "app>9")
    assert beyond.facts == {"asked": "app>9 was asked for", "newest offered": "3.0"}


def test_builds_for_another_backend_are_told_of() -> None:
    index = MemoryIndex()
    index.add("torch-2.0.1-cp310-cp310-manylinux2014_aarch64.whl")
    index.add("torch-2.0.1-cp311-cp311-manylinux2014_aarch64.whl")
    arm = machine("manylinux_2_35_aarch64", accelerator=nvidia("560.28.03"))
    error = refusal(index, "torch", target=arm)
    assert "built for cpu" in str(error.facts["1 fail backend"])
    assert error.hint is not None
    assert "--backend" in error.hint
