from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytorch_offline.bundle.format.model import Tool
from pytorch_offline.errors import UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer.model import Destination, Distribution, Finding, Program, Shadow, Survey
from pytorch_offline.installer.preflight import judge_destination, preflight_error
from pytorch_offline.installer.programs import choose_program
from tests.installer.crafted import linux_target
from tests.installer.surveys import context, held, locked, survey

HERE = Destination("/env/bin/python", None, "--prefix")
WHEEL = locked("filelock-3.0-py3-none-any.whl")


def judge(seen: Survey, destination: Destination = HERE, *, free: int = 10**9) -> list[Finding]:
    return list(judge_destination(seen, destination, [WHEEL], needed=10**6, free=free))


def test_a_sound_environment_has_nothing_in_the_way() -> None:
    assert judge(survey(held=[held("filelock", "2.0"), held("other")])) == []
    assert preflight_error([]) is None


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    old = held("filelock", "2.0", record=False, installer="")
    seen = survey(held=[old], writable=False, externally_managed="/usr/lib/EXTERNALLY-MANAGED", python="3.5.2")
    error = preflight_error(judge(seen, free=10))
    assert isinstance(error, UsageError)
    assert error.code == "not-ready"
    assert [name.split(",")[0] for name in error.facts] == [
        "python",
        "externally-managed",
        "writable",
        "replaceable",
        "space",
    ]
    assert "5 things are in the way; nothing was changed" in error.message
    assert "--venv DIR" in str(error.hint)


@pytest.mark.parametrize(
    ("seen", "family", "code"),
    [
        (survey(externally_managed="/usr/lib/EXTERNALLY-MANAGED"), UsageError, "externally-managed"),
        (survey(writable=False), UsageError, "not-writable"),
        (survey(python="3.5.2"), UsageError, "bad-interpreter"),
        (survey(held=[held("filelock", "2.0", record=False)]), UsageError, "not-replaceable"),
    ],
)
def test_one_thing_alone_keeps_its_own_code(seen: Survey, family: type[Exception], code: str) -> None:
    error = preflight_error(judge(seen))
    assert isinstance(error, family)
    assert error.code == code
    assert "nothing was changed" in str(error)


def test_space_and_an_environment_that_cannot_be_made(tmp_path: Path) -> None:
    full = preflight_error(judge(survey(), free=10))
    assert isinstance(full, UpstreamError)
    assert full.code == "disk-full"
    new = Destination("/usr/bin/python3", str(tmp_path / "new"), "--venv")
    assert judge(survey(externally_managed="/usr/lib/EXTERNALLY-MANAGED", writable=False), new) == []
    error = preflight_error(judge(survey(makes_environments=False), new))
    assert isinstance(error, UnsatisfiableError)
    assert error.code == "no-virtual-environment"
    if os.geteuid():
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        error = preflight_error(judge(survey(), new._replace(creates=str(closed / "env"))))
        assert error is not None
        assert error.code == "not-writable"


def test_what_only_another_environment_holds_is_not_replaced() -> None:
    outside = held("filelock", "2.0", record=False, information="/usr/lib/python3/dist-packages/filelock-2.0.egg-info")
    assert judge(survey(held=[outside])) == []


def conda(tmp_path: Path, *packages: tuple[str, Distribution]) -> Survey:
    site = tmp_path / "lib" / "python3.10" / "site-packages"
    (tmp_path / "conda-meta").mkdir()
    found = []
    for package, distribution in packages:
        information = site / Path(distribution.information).name
        found.append(distribution._replace(information=str(information)))
        listed = [f"lib/python3.10/site-packages/{information.name}" + ("/RECORD" if distribution.record else "")]
        record = tmp_path / "conda-meta" / f"{package}-{distribution.version}-py310_0.json"
        record.write_text(json.dumps({"name": package, "files": listed}))
    paths = {"purelib": str(site), "platlib": str(site), "scripts": str(tmp_path / "bin")}
    return survey(held=found, conda=True, prefix=str(tmp_path), paths=paths)


def test_what_conda_owns_is_named_by_conda_s_name_with_what_to_do(tmp_path: Path) -> None:
    seen = conda(tmp_path, ("python-filelock", held("filelock", "2.0", installer="conda")))
    (finding,) = judge(seen)
    assert (finding.check, finding.subject, finding.fails) == ("conda", "filelock", False)
    assert "conda's (python-filelock)" in finding.detail
    assert "conda remove --force python-filelock" in finding.hint
    assert preflight_error([finding]) is None


def test_an_old_conda_package_without_record_is_refused(tmp_path: Path) -> None:
    egg = held("filelock", "2.0", installer="", record=False, information="x/filelock-2.0-py3.10.egg-info")
    (finding,) = judge(conda(tmp_path, ("filelock", egg)))
    assert finding.fails
    assert "conda remove --force filelock" in finding.hint


def test_what_pip_put_into_a_conda_environment_is_replaced_without_a_word(tmp_path: Path) -> None:
    seen = conda(tmp_path, ("other", held("other", "2.0", installer="conda")))
    mine = held("filelock", "2.0", information=f"{seen.paths['purelib']}/filelock-2.0.dist-info")
    assert judge(seen._replace(distributions={"filelock": mine})) == []


def test_conda_s_base_is_warned_about() -> None:
    (finding,) = judge(survey(conda=True, conda_base=True))
    assert not finding.fails
    assert "base environment" in finding.detail


def test_what_would_be_imported_instead_is_told() -> None:
    seen = survey(
        shadows=(
            Shadow("filelock", "1.0", "/root/.local/lib", "user site"),
            Shadow("filelock", "", "/project", "PYTHONPATH"),
            Shadow("filelock", "3.0", "/same", "PYTHONPATH"),
            Shadow("numpy", "1.0", "/project", "PYTHONPATH"),
            Shadow("", "sitecustomize", "/project", "PYTHONPATH"),
            Shadow("filelock", "2.0", "/env/lib/python3.10/site-packages", "PYTHONPATH"),
        )
    )
    found = judge(seen)
    assert [finding.fails for finding in found] == [False, False, False]
    assert "filelock 1.0 in /root/.local/lib (user site) is found before the 3.0 installed" in found[0].detail
    assert "PYTHONNOUSERSITE=1" in found[0].hint
    assert "unset PYTHONPATH" in found[1].hint
    assert found[2].subject == "sitecustomize"


OWN = Program("pip", "21.2.3", "the destination's", ("-I", "-m", "pip"))
CARRIED = Tool("pip", "24.0", "tools/pip-24.0-py3-none-any.whl", ("3.9", "3.10"), ("py3-none-any",))
OLDER = Tool("pip", "21.3.1", "tools/pip-21.3.1-py3-none-any.whl", ("3.6", "3.10"), ("py3-none-any",))
FOR_36 = Tool("pip", "9.0", "tools/pip-9.0-py3-none-any.whl", ("3.6",), ("py3-none-any",))
BUNDLED = "/usr/lib/python3.10/ensurepip/_bundled/pip-20.0-py3-none-any.whl"


def choose(seen: Survey, *tools: Tool, oldest_pip: str = "18.1", creating: bool = False) -> Program:
    return choose_program("pip", seen, tools, context(), oldest_pip=oldest_pip, creating=creating)


def test_the_destination_s_own_pip_comes_first_if_it_is_new_enough() -> None:
    assert choose(survey(pip="21.2.3"), CARRIED) == OWN
    carried = choose(survey(pip="9.0.3"), OLDER, CARRIED, FOR_36)
    assert (carried.tool, carried.version) == (CARRIED, "24.0")
    assert choose(survey(pip="21.2.3"), OLDER, oldest_pip="21.3").tool == OLDER
    assert str(choose(survey(bundled_pip=BUNDLED), creating=True)) == "the new environment's pip 20.0"
    assert choose(survey(bundled_pip=BUNDLED)).arguments == ("-I", f"{BUNDLED}/pip")


def test_without_a_pip_that_serves_each_one_is_refused_with_a_reason() -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        choose(survey(pip="9.0.3", bundled_pip=BUNDLED), FOR_36, oldest_pip="20.3")
    assert caught.value.code == "no-usable-pip"
    assert list(caught.value.facts.values()) == [
        "the destination's pip 9.0.3 is too old for these wheels, which need 20.3",
        "ensurepip's pip 20.0 is too old for these wheels, which need 20.3",
    ]


def test_the_tool_s_own_pip_serves_from_outside_where_it_can() -> None:
    ours = context()._replace(own_pip=(("/tool/bin/python", "-m", "pip"), "26.3"))
    arguments = {"oldest_pip": "18.1", "creating": False}
    chosen = choose_program("pip", survey(), (), ours, **arguments)  # type: ignore[arg-type]
    assert str(chosen) == "this tool's pip 26.3"
    with pytest.raises(UnsatisfiableError):
        choose_program("pip", survey(linux_target("3.8.1")), (), ours, **arguments)  # type: ignore[arg-type]


def test_uv_travels_or_is_this_machine_s(tmp_path: Path) -> None:
    carried = Tool(
        "uv", "0.8", "tools/uv-0.8-py3-none-manylinux_2_17_x86_64.whl", (), ("py3-none-manylinux_2_17_x86_64",)
    )
    windows = carried._replace(tags=("py3-none-win_amd64",))
    assert choose_program("uv", survey(), (windows, carried), context(), oldest_pip="", creating=False).tool == carried
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    there = context({"PATH": str(tmp_path)})
    chosen = choose_program("uv", survey(), (windows,), there, oldest_pip="", creating=False)
    assert chosen.command == (str(tmp_path / "uv"),)
