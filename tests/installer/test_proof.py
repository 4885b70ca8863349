from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.model import same_version
from pytorch_offline.installer.proof import judge_change, judge_files, judge_torch, judge_versions
from pytorch_offline.installer.torch_report import TorchReport, TrialStep
from tests.installer.surveys import held, locked

TORCH = locked("torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl")


@pytest.mark.parametrize(
    ("installed", "agrees"),
    [
        ("2.4.0+cpu", True),
        ("2.4+CPU", True),
        ("2.4.0", False),
        ("2.4.0+cu121", False),
        ("garbage", False),
        (None, False),
    ],
)
def test_versions_agree_to_the_local_label(installed: str | None, agrees: bool) -> None:  # noqa: FBT001
    there = {} if installed is None else {"torch": held("torch", installed)}
    findings = judge_versions([TORCH], there)
    assert (not findings) is agrees
    assert all(finding.fails for finding in findings)


SPELLINGS = st.from_regex(
    r"v?(?:[0-2]!)?[0-3]{1,2}(?:\.[0-2]){0,3}(?:[-_.]?(?:a|b|rc|c|alpha|beta|pre|preview)[-_.]?[0-2]?)?"
    r"(?:-[0-2]|[-_.]?(?:post|rev|r)[-_.]?[0-2]?)?(?:[-_.]?dev[-_.]?[0-2]?)?(?:\+[a-c0]{1,2}(?:[-_.][0-1]{1,2})?)?",
    fullmatch=True,
)


@given(SPELLINGS, SPELLINGS)
def test_versions_are_the_same_where_packaging_says_so(one: str, other: str) -> None:
    assert same_version(one, other) is (Version(one) == Version(other))
    assert same_version(one, str(Version(one)))


def hashed(on_disk: dict[str, str], expected: dict[str, str], *problems: tuple[str, str]) -> HashedWheel:
    return HashedWheel("a", "1", "/env", on_disk, problems, expected)


def files(on_disk: dict[str, str], expected: dict[str, str], *problems: tuple[str, str]) -> list[str]:
    findings = judge_files(hashed(on_disk, expected, *problems), kept=False)
    assert all(finding.fails for finding in findings)
    return [finding.detail for finding in findings]


def test_installed_files_are_the_wheel_s() -> None:
    expected = {"a.py": "sha256=x", "a-1.data/data/share/a.1": "sha256=z"}
    assert not files({"a.py": "sha256=x", "../bin/a": "sha256=y"}, expected)
    assert files({"a.py": "sha256=z"}, expected) == ["a.py: has sha256=z, the wheel has sha256=x"]
    assert files({}, expected) == ["a.py: is in the wheel and not in the installed RECORD"]
    assert files({}, expected, ("a.py", "RECORD says so")) == ["a.py: RECORD says so"]


def test_many_bad_files_are_counted() -> None:
    (detail,) = files({}, {f"{number}.py": "sha256=x" for number in range(8)})
    assert detail.endswith("(and 3 more)")


def test_what_cannot_be_proven_of_others_is_told() -> None:
    (finding,) = judge_files(hashed({"a.py": "sha256=z"}, {"a.py": "sha256=x"}), kept=True)
    assert (finding.fails, finding.detail.startswith("was there before")) == (False, True)
    (finding,) = judge_files(hashed({"a.py": "sha256=z"}, {}), kept=False)  # a delta without its base
    assert (finding.fails, "RECORD alone" in finding.detail) == (False, True)


def test_new_conflicts_fail_and_old_ones_are_told() -> None:
    told = judge_change(("old",), ("old", "new"))
    assert [(finding.detail, finding.fails) for finding in told] == [("old", False), ("new", True)]
    assert [finding.fails for finding in judge_change(None, ("as it is",))] == [False]
    assert [finding.fails for finding in judge_change((), None)] == [False]


def trial(version: str, *steps: TrialStep, **built: str) -> TorchReport:
    return TorchReport((TrialStep("import", True, facts={"version": version, **built}), *steps), 0)  # noqa: FBT003


def failing(report: TorchReport, locked: str, backend: str | None = None, **more: bool) -> list[str]:
    options = {"has_device": False, "tolerated": False, **more}
    findings = judge_torch(report, locked, backend, has_device=options["has_device"], tolerated=options["tolerated"])
    return [finding.subject for finding in findings if finding.fails]


def test_torch_says_the_version_of_the_lock() -> None:
    assert not failing(trial("2.4.0+cpu"), "2.4.0+cpu", "cpu")
    assert not failing(trial("2.4.0+cu121"), "2.4.0")  # a plain index's build
    assert failing(trial("2.4.0"), "2.4.0+cpu", "cpu") == ["version"]
    assert failing(trial("2.3.1+cpu"), "2.4.0") == ["version"]


def test_a_device_fails_only_where_there_is_one_to_use() -> None:
    unseen = trial("2.4.0+cu121", TrialStep("cuda", True, facts={"available": False}), cuda="12.1")  # noqa: FBT003
    assert not failing(unseen, "2.4.0+cu121", "cu121")
    assert failing(unseen, "2.4.0+cu121", "cu121", has_device=True) == ["cuda"]
    assert not failing(unseen, "2.4.0+cu121", "cu121", has_device=True, tolerated=True)
    amd = trial("2.4.0+rocm6.1", TrialStep("cuda:0", True, error="HIP error"), hip="6.1")  # noqa: FBT003
    assert failing(amd, "2.4.0+rocm6.1", "rocm6.1", has_device=True) == ["cuda:0"]
    assert failing(trial("2.4.0+cpu"), "2.4.0+cpu", "rocm6.1") == ["rocm"]
