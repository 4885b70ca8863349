from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from pytorch_offline.bundle.format.model import Missing
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.fitness import Choice, admits_python, choose_lock, closure_of, misfits
from pytorch_offline.installer.model import Misfit
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from tests.installer.crafted import linux_target
from tests.installer.surveys import held, lock, locked, survey


def rules(*filenames: str) -> list[str]:
    one = lock(*filenames)
    return [misfit.rule for misfit in misfits(one, survey(), closure_of(one, []))]


@pytest.mark.parametrize(
    ("filename", "rule"),
    [
        ("a-1.0-cp310-cp310-manylinux_2_28_x86_64.whl", None),
        ("a-1.0-cp310-cp310-linux_x86_64.whl", None),
        ("a-1.0-cp37-abi3-manylinux1_x86_64.whl", None),
        ("a-1.0-py3-none-any.whl", None),
        ("a-1.0-cp310-cp310-manylinux_2_36_x86_64.whl", "glibc"),
        ("a-1.0-cp310-cp310-manylinux_2_28_aarch64.whl", "platform"),
        ("a-1.0-cp310-cp310-win_amd64.whl", "platform"),
        ("a-1.0-cp310-none-macosx_11_0_arm64.whl", "platform"),
        ("a-1.0-py3-none-macosx_11_0_arm64.whl", "platform"),
        ("a-1.0-cp310-cp310d-linux_x86_64.whl", "tags"),
    ],
)
def test_tags_decide_and_the_rule_says_which_part(filename: str, rule: str | None) -> None:
    assert rules(filename) == ([] if rule is None else [rule])


def test_a_lock_of_another_python_or_implementation_says_so_once() -> None:
    other = lock("a-1.0-cp312-cp312-linux_x86_64.whl", "b-1.0-cp312-cp312-linux_x86_64.whl", python="3.12")
    (misfit,) = misfits(other, survey(), closure_of(other, []))
    assert misfit.rule == "python"
    assert "is for CPython 3.12, here is CPython 3.10.12" in misfit.detail
    assert "and 1 more" in misfit.detail
    pypy = lock("a-1.0-pp310-pypy310_pp73-linux_x86_64.whl")._replace(implementation="PyPy")
    assert [misfit.rule for misfit in misfits(pypy, survey(), closure_of(pypy, []))] == ["implementation"]


def test_glibc_is_named_with_both_versions() -> None:
    old = survey(linux_target(glibc=(2, 12)))
    for one in (
        lock("a-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        lock("a-1.0-cp310-cp310-linux_x86_64.whl", glibc="2.17"),  # its libraries say more than its tag
    ):
        (misfit,) = misfits(one, old, closure_of(one, []))
        assert misfit.rule == "glibc"
        assert "needs glibc 2.17, here is glibc 2.12" in misfit.detail


def test_requires_python_counts_beside_the_tags() -> None:
    for requirement, expected in ((">=3.11", ["python"]), (">=3.10", [])):
        one = lock(wheels=(locked("a-1.0-py3-none-any.whl", python=requirement),), python="3.11")
        assert [misfit.rule for misfit in misfits(one, survey(), closure_of(one, []))] == expected


@given(
    st.tuples(st.just(3), st.integers(0, 15), st.integers(0, 20)),
    st.lists(
        st.tuples(
            st.sampled_from([">=", "<=", ">", "<", "==", "!=", "~="]),
            st.tuples(st.integers(2, 4), st.integers(0, 15))
            | st.tuples(st.just(3), st.integers(0, 15), st.integers(0, 9)),
            st.booleans(),
        ),
        max_size=3,
    ),
)
def test_requires_python_is_read_as_packaging_reads_it(
    python: tuple[int, ...], clauses: list[tuple[str, tuple[int, ...], bool]]
) -> None:
    spelt = ",".join(
        operator + ".".join(map(str, numbers)) + (".*" if prefix and operator in {"==", "!="} else "")
        for operator, numbers, prefix in clauses
    )
    here = ".".join(map(str, python))
    assert admits_python(spelt, here) == SpecifierSet(spelt).contains(here), spelt


def test_a_closure_holds_only_under_its_own_markers() -> None:
    one = lock("a-1.0-py3-none-any.whl", markers={"sys_platform": ("win32", "cygwin")})
    (misfit,) = misfits(one, survey(), closure_of(one, []))
    assert misfit.rule == "markers"
    assert misfit.detail == "holds with sys_platform win32 or cygwin, here it is linux"
    assert not misfits(one._replace(markers={"sys_platform": ("linux",)}), survey(), closure_of(one, []))


def test_what_is_installed_already_fills_a_gap() -> None:
    one = lock("a-1.0-py3-none-any.whl", "c-1.0-py3-none-any.whl", missing=(Missing("b", "b>=2", "a"),))
    (misfit,) = misfits(one, survey(), closure_of(one, []))
    assert (misfit.rule, misfit.detail) == ("requirement", "a needs b>=2, which is missing")
    assert not misfits(one, survey(held=[held("b", "2.1")]), closure_of(one, []))
    assert not misfits(one, survey(), closure_of(one, ["c"]))


BAD = Misfit("python", "is for CPython 3.12, here is CPython 3.10.12")
OLD_DRIVER = Misfit("driver", "cu121 needs 525")
FIRST, SECOND = lock("a-1.0-py3-none-any.whl", target="one"), lock("a-2.0-py3-none-any.whl", target="two")


def test_the_one_lock_that_fits_is_taken() -> None:
    assert choose_lock([FIRST, SECOND], {"one": [BAD], "two": []}, survey(), named=None) == Choice(SECOND)


def test_two_that_fit_are_the_user_s_choice() -> None:
    with pytest.raises(UsageError) as caught:
        choose_lock([FIRST, SECOND], {"one": [], "two": []}, survey(), named=None)
    assert caught.value.code == "several-locks-fit"
    assert list(caught.value.facts) == ["target one", "target two"]
    assert choose_lock([FIRST, SECOND], {"one": [], "two": []}, survey(), named="one").lock is FIRST


def test_two_locks_of_the_same_files_are_no_choice() -> None:
    twin = FIRST._replace(target="twin")
    assert choose_lock([FIRST, twin], {"one": [], "twin": []}, survey(), named=None).lock is FIRST


CPU = lock("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", target="cpu", backend="cpu")
CUDA = lock("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl", target="gpu", backend="cu121")
OLDER = lock("torch-2.3.0+cpu-cp310-cp310-linux_x86_64.whl", target="old", backend="cpu")
WITH_GPU = survey(linux_target(accelerator=Accelerator(kind=AcceleratorKind.CUDA)))
WITHOUT = survey(linux_target(accelerator=Accelerator(kind=AcceleratorKind.NONE)))


def test_of_one_torch_for_cpu_and_gpu_the_machine_decides_and_it_is_said_why() -> None:
    fitting: dict[str, list[Misfit]] = {"cpu": [], "gpu": [], "old": [], "other": []}
    with_gpu = choose_lock([CPU, CUDA], fitting, WITH_GPU, named=None)
    assert with_gpu.lock is CUDA
    assert "a GPU is here" in with_gpu.why
    without = choose_lock([CPU, CUDA], fitting, WITHOUT, named=None)
    assert without.lock is CPU
    assert "no GPU was found" in without.why
    for locks in ([OLDER, CUDA], [CPU, CUDA, CUDA._replace(target="other", wheels=OLDER.wheels + CUDA.wheels)]):
        with pytest.raises(UsageError, match="several locks fit"):
            choose_lock(locks, fitting, WITH_GPU, named=None)


def test_no_lock_that_fits_says_why_for_each_the_nearest_first() -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        choose_lock([FIRST, SECOND], {"one": [BAD], "two": [OLD_DRIVER]}, survey(), named=None)
    assert list(caught.value.facts.items()) == [
        ("target two", "driver: cu121 needs 525"),
        ("target one", "python: is for CPython 3.12, here is CPython 3.10.12"),
    ]


def test_where_another_python_would_do_it_is_named_and_else_what_to_fetch() -> None:
    machine = "CPython 3.10 on Linux x86_64"
    for reasons, named in (([BAD], True), ([BAD, OLD_DRIVER], False), ([OLD_DRIVER], False)):
        with pytest.raises(UnsatisfiableError) as caught:
            choose_lock([FIRST._replace(python="3.12")], {"one": reasons}, survey(), named=None)
        hint = str(caught.value.hint)
        assert machine in hint
        assert ("name a Python 3.12 of this machine: --python EXE" in hint) is named
    with pytest.raises(UnsatisfiableError) as caught:
        choose_lock([FIRST._replace(python="3.12", system="Windows")], {"one": [BAD]}, survey(), named=None)
    assert "--python" not in str(caught.value.hint)


def test_naming_a_lock_overrides_its_driver_floor_and_nothing_else() -> None:
    chosen = choose_lock([FIRST, SECOND], {"one": [BAD], "two": [OLD_DRIVER]}, survey(), named="two")
    assert chosen == Choice(SECOND, "", (OLD_DRIVER,))
    with pytest.raises(UnsatisfiableError):
        choose_lock([FIRST, SECOND], {"one": [BAD], "two": []}, survey(), named="one")
    with pytest.raises(UsageError) as caught:
        choose_lock([FIRST, SECOND], {"one": [], "two": []}, survey(), named="three")
    assert caught.value.code == "unknown-target"


def test_a_part_of_a_lock_brings_what_it_needs() -> None:
    wheels = (
        locked("a-1.0-py3-none-any.whl", needs=("b",)),
        locked("b-1.0-py3-none-any.whl", needs=("a",)),
        locked("c-1.0-py3-none-any.whl"),
    )
    one = lock(wheels=wheels)
    assert closure_of(one, ["a"]) == {"a", "b"}
    assert closure_of(one, []) == {"a", "b", "c"}
    with pytest.raises(UnsatisfiableError) as caught:
        closure_of(one, ["d"])
    assert caught.value.code == "not-in-lock"


def test_a_machine_described_without_an_accelerator_is_asked_about() -> None:
    unknown = survey(replace(linux_target(), accelerator=None))
    assert choose_lock([CPU, CUDA], {"cpu": [], "gpu": []}, unknown, named=None).lock is CPU
