"""One requirement as it is written: a project, or a wheel by its address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.requirements import parse_requirement

if TYPE_CHECKING:
    from pytorch_offline.selector.model import DirectWheel

WHEEL = "torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"
URL = f"https://download.pytorch.org/whl/cu121/{WHEEL}"
DIGEST = "0" * 63 + "a"


def direct(text: str) -> DirectWheel:
    _, wheel = parse_requirement(text, "command line")
    assert wheel is not None
    return wheel


@pytest.mark.parametrize("text", ["torch==", "???", "torch 2.4", "", "torch; x"])
def test_bad_requirements_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="command line") as caught:
        parse_requirement(text, "command line")
    assert caught.value.code == "bad-requirement"


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        (URL, "torch==2.4.0+cu121"),
        (f"{URL}#sha256={DIGEST}", "torch==2.4.0+cu121"),
        (f"torch @ {URL}", "torch==2.4.0+cu121"),
        (
            f"Torch[opt-einsum]@{URL} ; python_version < '3.11'",
            'torch[opt-einsum]==2.4.0+cu121; python_version < "3.11"',
        ),
        (f"{URL}; sys_platform == 'linux'", 'torch==2.4.0+cu121; sys_platform == "linux"'),
        ("./d/x_y-1.0-py3-none-any.whl[fast]", "x-y[fast]==1.0"),
        ("x-1.0-py3-none-any.whl ; python_version < '3'", 'x==1.0; python_version < "3"'),
        ("file:///d/x-1.0-py3-none-any.whl", "x==1.0"),
    ],
)
def test_a_wheel_stands_for_its_project_at_its_version(text: str, requirement: str) -> None:
    found, wheel = parse_requirement(text, "command line")
    assert str(found) == requirement
    assert wheel is not None


def test_address_path_and_hash() -> None:
    wheel = direct(f"torch @ {URL}#sha256={DIGEST}")
    assert (wheel.url, wheel.path, wheel.sha256) == (URL, "/whl/cu121/" + WHEEL.replace("%2B", "+"), DIGEST)
    assert direct("./d/x-1.0-py3-none-any.whl").url == Path("d/x-1.0-py3-none-any.whl").absolute().as_uri()


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("git+https://github.com/pytorch/vision@v0.19", "not-a-wheel", "a project and its version"),
        ("x @ git+https://github.com/x/y", "not-a-wheel", "a project and its version"),
        ("https://h/torch-2.4.0.tar.gz", "not-a-wheel", "pip wheel"),
        ("./vision", "not-a-wheel", "pip wheel"),
        (".", "not-a-wheel", "pip wheel"),
        ("numpy @ file:///croot/numpy_1/work/dist/numpy", "not-a-wheel", "--format=freeze"),
        ("certifi @ file:///opt/conda/conda-bld/certifi_1", "not-a-wheel", "--format=freeze"),
        (f"numpy @ {URL}", "bad-requirement", None),
        ("https://h/torch.whl", "invalid-wheel-name", None),
        (f"{URL}#sha256=00", "bad-hash", "#sha256="),
        (f"{URL}#md5={'0' * 32}", "bad-hash", "#sha256="),
        ("ftp://h/x-1.0-py3-none-any.whl", "bad-url", None),
    ],
)
def test_what_is_no_wheel_says_what_to_write(text: str, code: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match="line 7: ") as caught:
        parse_requirement(text, "line 7")
    assert caught.value.code == code
    assert hint is None or hint in str(caught.value.hint)


@pytest.mark.parametrize("text", ["./vision", ".", "file:///home/me/work/vision"])
def test_a_directory_below_one_named_work_is_not_condas(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "work" / "croot" / "main"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with pytest.raises(UsageError) as caught:
        parse_requirement(text, "line 7")
    assert "pip wheel" in str(caught.value.hint)


@pytest.mark.parametrize(
    "place",
    [
        "/croot/numpy_1/work/dist/numpy",
        "/C:/b/abs_1/croot/numpy_1/work",
        "/tmp/build/80754af9/six_1/work",
        "/home/conda/feedstock_root/build_artifacts/six_1/work",
        "/work/ci_py311/six_1/work",
        "/home/builder/ci/six_1/work",
        "/perseverance-python-buildout/croot/six_1/work",
    ],
)
def test_where_conda_built_a_package_is_recognised(place: str) -> None:
    with pytest.raises(UsageError, match="where conda built") as caught:
        parse_requirement(f"six @ file://{place}", "line 7")
    assert "--format=freeze" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["torch ; platform_version == 'a/b'", "torch[a]>=2 ; os_name == 'x.whl'"])
def test_a_marker_makes_no_path(text: str) -> None:
    _, wheel = parse_requirement(text, "command line")
    assert wheel is None
