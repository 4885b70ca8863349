from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.fitness import Misfit, Rule, choose_lock, misfits
from pytorch_offline.installer.lock import Lock, LockedWheel
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.metadata import CoreMetadata, parse_metadata
from tests.installer.crafted import linux_target


def locked(filename: str, directory: str = "whl") -> LockedWheel:
    return LockedWheel(
        name=parse_wheel_name(filename), path=PurePosixPath(directory, filename), sha256="a" * 64, size=1
    )


def lock_of(*filenames: str, target: str = "node", directory: str = "whl") -> Lock:
    return Lock(target=target, wheels=tuple(locked(filename, directory) for filename in filenames))


def metadata_of(project: str, *lines: str) -> CoreMetadata:
    return parse_metadata("\n".join([f"Name: {project}", "Version: 1.0", *lines, "", ""]).encode())


def rules(
    lock: Lock, metadata: dict[str, CoreMetadata] | None = None, accelerator: Accelerator | None = None
) -> list[Rule]:
    known = {canonicalize_name(name): value for name, value in (metadata or {}).items()}
    found = misfits(lock, linux_target(accelerator=accelerator), known, {})
    return [misfit.rule for misfit in found]


@pytest.mark.parametrize(
    ("filename", "rule"),
    [
        ("a-1.0-cp310-cp310-manylinux_2_28_x86_64.whl", None),
        ("a-1.0-cp310-cp310-linux_x86_64.whl", None),
        ("a-1.0-cp37-abi3-manylinux1_x86_64.whl", None),
        ("a-1.0-py3-none-any.whl", None),
        ("a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", Rule.PYTHON),
        ("a-1.0-cp310-cp310-manylinux_2_36_x86_64.whl", Rule.GLIBC),
        ("a-1.0-cp310-cp310-manylinux_2_28_aarch64.whl", Rule.PLATFORM),
        ("a-1.0-cp310-cp310-win_amd64.whl", Rule.PLATFORM),
        ("a-1.0-cp310-none-macosx_11_0_arm64.whl", Rule.PLATFORM),
        ("a-1.0-py3-none-macosx_11_0_arm64.whl", Rule.PLATFORM),
    ],
)
def test_tags_decide_and_the_rule_says_which_part(filename: str, rule: Rule | None) -> None:
    assert rules(lock_of(filename)) == ([] if rule is None else [rule])


def test_glibc_is_named_with_both_versions() -> None:
    lock = lock_of("a-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    (misfit,) = misfits(lock, linux_target(glibc=(2, 12)), {}, {})
    assert misfit.rule is Rule.GLIBC
    assert "2.17" in misfit.detail
    assert "2.12" in misfit.detail


def test_requires_python_counts_beside_the_tags() -> None:
    lock = lock_of("a-1.0-py3-none-any.whl")
    assert rules(lock, {"a": metadata_of("a", "Requires-Python: >=3.11")}) == [Rule.PYTHON]
    assert rules(lock, {"a": metadata_of("a", "Requires-Python: >=3.10")}) == []


def test_a_requirement_that_is_active_only_here_is_a_gap() -> None:
    lock = lock_of("a-1.0-py3-none-any.whl")
    assert rules(lock, {"a": metadata_of("a", 'Requires-Dist: b; sys_platform == "win32"')}) == []
    assert rules(lock, {"a": metadata_of("a", 'Requires-Dist: b; sys_platform == "linux"')}) == [Rule.REQUIREMENT]


def test_what_is_installed_already_fills_a_gap() -> None:
    lock = lock_of("a-1.0-py3-none-any.whl")
    metadata = {canonicalize_name("a"): metadata_of("a", "Requires-Dist: b>=2")}
    assert not misfits(lock, linux_target(), metadata, {canonicalize_name("b"): Version("2.1")})
    assert misfits(lock, linux_target(), metadata, {canonicalize_name("b"): Version("1.9")})


@pytest.mark.parametrize(
    ("driver", "cuda", "fits"),
    [("535.104.05", None, True), ("470.82.01", None, False), ("470.82.01", "12.2", True)],
)
def test_the_driver_must_run_the_lock_s_cuda(driver: str, cuda: str | None, fits: bool) -> None:  # noqa: FBT001
    accelerator = Accelerator(
        kind=AcceleratorKind.CUDA, driver=Version(driver), cuda=Version(cuda) if cuda else None, devices=()
    )
    lock = lock_of("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl", directory="whl/cu121")
    assert rules(lock, accelerator=accelerator) == ([] if fits else [Rule.DRIVER])
    cpu = lock_of("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", directory="whl/cpu")
    assert rules(cpu, accelerator=accelerator) == []


def test_a_machine_without_a_known_gpu_may_be_given_a_cuda_build() -> None:
    lock = lock_of("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl", directory="whl/cu121")
    assert rules(lock, accelerator=Accelerator(kind=AcceleratorKind.NONE)) == []


BAD = Misfit(rule=Rule.PYTHON, detail="a.whl is not for CPython 3.10")
OLD_DRIVER = Misfit(rule=Rule.DRIVER, detail="cu121 needs 525")
FIRST, SECOND = lock_of("a-1.0-py3-none-any.whl", target="one"), lock_of("a-2.0-py3-none-any.whl", target="two")


def test_the_one_lock_that_fits_is_taken() -> None:
    assert choose_lock([FIRST, SECOND], {"one": [BAD], "two": []}, named=None) == (SECOND, ())


def test_two_that_fit_are_the_user_s_choice() -> None:
    with pytest.raises(UsageError) as caught:
        choose_lock([FIRST, SECOND], {"one": [], "two": []}, named=None)
    assert caught.value.code == "several-locks-fit"
    assert list(caught.value.facts) == ["target one", "target two"]
    assert choose_lock([FIRST, SECOND], {"one": [], "two": []}, named="one")[0] is FIRST


def test_two_locks_of_the_same_files_are_no_choice() -> None:
    twin = Lock(target="twin", wheels=FIRST.wheels)
    assert choose_lock([FIRST, twin], {"one": [], "twin": []}, named=None)[0] is FIRST


def test_no_lock_that_fits_says_why_for_each() -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        choose_lock([FIRST, SECOND], {"one": [BAD], "two": [OLD_DRIVER]}, named=None)
    assert caught.value.facts == {
        "target one": "python: a.whl is not for CPython 3.10",
        "target two": "driver: cu121 needs 525",
    }


def test_naming_a_lock_overrides_its_driver_floor_and_nothing_else() -> None:
    assert choose_lock([FIRST, SECOND], {"one": [BAD], "two": [OLD_DRIVER]}, named="two") == (SECOND, (OLD_DRIVER,))
    with pytest.raises(UnsatisfiableError):
        choose_lock([FIRST, SECOND], {"one": [BAD], "two": []}, named="one")
    with pytest.raises(UsageError) as caught:
        choose_lock([FIRST, SECOND], {"one": [], "two": []}, named="three")
    assert caught.value.code == "unknown-target"
