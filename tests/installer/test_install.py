"""The whole way with real interpreters and their real pips, on crafted wheels."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from packaging.requirements import Requirement

from pytorch_offline.errors import IntegrityError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer import plan as planning
from pytorch_offline.installer.carry_out import carry_out
from pytorch_offline.installer.destination import read_survey
from pytorch_offline.installer.evidence import Evidence, evidence_document
from pytorch_offline.installer.installer_line import Installer, Pip, clean_environment
from pytorch_offline.installer.plan import Plan, Request, plan_installation
from pytorch_offline.installer.prove import EVIDENCE
from pytorch_offline.target.capture import this_machine
from tests.installer.crafted import Crafted, linux_target, pure, torch, write_mirror
from tests.interpreters import MINORS, interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLOSURE = (torch(), pure("filelock", "3.0"), pure("typing-extensions", "4.1"))


def make_mirror(root: Path, wheels: Iterable[Crafted] = CLOSURE, *, beside: Iterable[Crafted] = ()) -> Path:
    return write_mirror(root, {"node": wheels}, target=linux_target(), beside=beside)


def plan_for(
    mirror: Path,
    *,
    venv: Path | None = None,
    python: Path | None = None,
    requirements: tuple[Requirement, ...] = (),
    installer: Installer = Installer.PIP,
) -> Plan:
    request = Request(mirror=mirror, venv=venv, python=python, requirements=requirements, installer=installer)
    return plan_installation(request, describe=this_machine, say=lambda _: None)


def finish(plan: Plan) -> Evidence:
    return carry_out(plan, now=lambda: NOW, say=lambda _: None)


def install(mirror: Path, *, venv: Path, python: Path | None = None, installer: Installer = Installer.PIP) -> Evidence:
    return finish(plan_for(mirror, venv=venv, python=python, installer=installer))


def python_in(venv: Path) -> str:
    return str(venv / "bin" / "python")


def versions_in(venv: Path) -> dict[str, str]:
    survey = read_survey(Path(python_in(venv)), clean_environment(os.environ))
    return {str(name): distribution.version for name, distribution in survey.distributions.items()}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment without a pip of its own: quick to make, served by the tool's pip from outside."""
    path = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("version", MINORS)
def test_the_pip_that_each_python_brings_along_installs(version: str, tmp_path: Path) -> None:
    venv = tmp_path / "new env"
    evidence = install(make_mirror(tmp_path / "mirror"), python=interpreter(version), venv=venv)
    assert evidence.torch is not None
    assert evidence.torch.version == "2.4.0+cpu"
    assert evidence.findings == ()
    assert evidence.installer is not None
    assert evidence.installer.startswith("the new environment's pip")
    assert versions_in(venv).items() >= {"torch": "2.4.0+cpu", "filelock": "3.0", "typing-extensions": "4.1"}.items()
    document = json.loads((venv / EVIDENCE).read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(evidence_document(evidence)))
    assert document["proven"] is True
    assert document["files_checked"] >= 9
    assert not (evidence.destination.purelib / ".pytorch-offline" / "work").exists()


def test_a_second_time_changes_nothing_and_proves_again(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    install(mirror, venv=venv)
    evidence = install(mirror, venv=venv)
    assert evidence.installed == ()
    assert len(evidence.kept) == 3
    assert evidence.torch is not None


def test_what_was_damaged_since_is_installed_again(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    site = install(mirror, venv=venv).destination.purelib
    (site / "torch" / "__init__.py").write_text("damaged", encoding="utf-8")
    (site / "filelock-3.0.dist-info" / "RECORD").unlink()
    evidence = install(mirror, venv=venv)
    assert [wheel.project for wheel in evidence.installed] == ["torch"]
    (finding,) = evidence.findings
    assert (finding.subject, finding.fails) == ("filelock", False)
    assert "RECORD" in finding.detail


def test_uv_installs_the_same(tmp_path: Path, venv: Path) -> None:
    if shutil.which("uv") is None and not (Path(sys.executable).parent / "uv").exists():
        pytest.skip("uv is not installed")
    evidence = install(make_mirror(tmp_path / "mirror"), venv=venv, installer=Installer.UV)
    assert evidence.findings == ()
    assert versions_in(venv)["torch"] == "2.4.0+cpu"


def test_no_configuration_and_no_neighbour_can_divert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A global find-links with a higher version, a configured index, hostile variables, a tempting wheel beside."""
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for wheel in (pure("filelock", "99.0"), pure("filelock", "3.0", "Summary: other bytes")):
        (hostile / wheel.filename).write_bytes(wheel.build())
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    settings = f"[global]\nfind-links = {hostile}\nindex-url = http://127.0.0.1:9/simple\nno-deps = false\n"
    (home / ".config" / "pip" / "pip.conf").write_text(settings, encoding="utf-8")
    (home / "uv.toml").write_text(f'find-links = ["{hostile}"]\n', encoding="utf-8")
    (hostile / "sitecustomize.py").write_text("raise SystemExit('hostile')", encoding="utf-8")
    for name, value in {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "PIP_CONFIG_FILE": home / ".config" / "pip" / "pip.conf",
        "PIP_FIND_LINKS": hostile,
        "PIP_TARGET": hostile,
        "PIP_USER": "1",
        "UV_FIND_LINKS": hostile,
        "UV_CONFIG_FILE": home / "uv.toml",
        "PYTHONPATH": hostile,
    }.items():
        monkeypatch.setenv(name, str(value))
    beside = [pure("filelock", "99.0"), Crafted(filename="filelock-3.0-1-py3-none-any.whl")]
    mirror = make_mirror(tmp_path / "mirror", beside=beside)
    for number, installer in enumerate(Installer):
        venv = tmp_path / f"env{number}"
        subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", venv], check=True)
        assert install(mirror, venv=venv, installer=installer).findings == ()
        assert versions_in(venv)["filelock"] == "3.0"


def test_an_environment_without_pip_is_served_from_outside(tmp_path: Path, venv: Path) -> None:
    evidence = install(make_mirror(tmp_path / "mirror"), venv=venv)
    assert evidence.installer is not None
    assert evidence.installer.startswith("this tool's pip")
    assert evidence.findings == ()


def test_a_pip_in_the_mirror_is_run_from_its_wheel(tmp_path: Path) -> None:
    """3.7 without a pip of its own, and a tool whose pip is too new for it: the wheel that was carried along serves."""
    base = interpreter("3.7")
    venv = tmp_path / "env"
    subprocess.run([base, "-m", "venv", "--without-pip", venv], check=True)
    bundled = next((base.parent.parent / "lib").glob("python3.7/ensurepip/_bundled/pip-*.whl"))
    carried = Crafted(filename=bundled.name, body=bundled.read_bytes())
    mirror = make_mirror(tmp_path / "with pip", beside=[carried])
    evidence = install(mirror, venv=venv)
    assert evidence.installer is not None
    assert evidence.installer.startswith("the mirror's pip")
    assert evidence.findings == ()


def test_a_pip_too_old_for_the_wheels_is_told_beforehand(tmp_path: Path) -> None:
    python = interpreter("3.6")
    wheels = [Crafted(filename="a-1.0-cp36-cp36m-manylinux2014_x86_64.whl")]
    mirror = write_mirror(tmp_path / "mirror", {"node": wheels}, target=linux_target("3.6.15"))
    with pytest.raises(UnsatisfiableError) as caught:
        plan_for(mirror, python=python, venv=tmp_path / "env")
    assert caught.value.code == "no-usable-pip"
    assert "fetch `pip`" in str(caught.value.hint)
    assert not (tmp_path / "env").exists()


def test_bad_files_change_nothing(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    path = mirror / "whl" / "filelock-3.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(IntegrityError) as caught:
        install(mirror, venv=tmp_path / "env")
    assert list(caught.value.facts) == ["whl/filelock-3.0-py3-none-any.whl"]
    assert not (tmp_path / "env").exists()


def test_bytes_that_change_after_the_check_are_caught_by_pip(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    plan = plan_for(mirror, venv=tmp_path / "env")
    (mirror / "whl" / "filelock-3.0-py3-none-any.whl").write_bytes(pure("filelock", "3.0", "Summary: other").build())
    with pytest.raises(IntegrityError) as caught:
        finish(plan)
    assert caught.value.code == "hash-mismatch"
    assert "removed again" in str(caught.value.facts["state"])
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("installer", list(Installer))
def test_a_failing_installer_says_what_state_it_left(installer: Installer, tmp_path: Path, venv: Path) -> None:
    """A wheel of an unknown major format is intact, and yet no installer takes it."""
    install(make_mirror(tmp_path / "first", [pure("filelock", "2.0")]), venv=venv)
    refused = Crafted(filename="typing_extensions-4.1-py3-none-any.whl", wheel_version="9.0")
    mirror = make_mirror(tmp_path / "second", [refused, pure("filelock", "3.0")])
    with pytest.raises(UnsatisfiableError) as caught:
        install(mirror, venv=venv, installer=installer)
    assert caught.value.code == "installer-failed"
    assert "ersion" in str(caught.value.facts["it says"])
    state = str(caught.value.facts["state"])
    left = versions_in(venv).get("filelock", "absent")  # uv takes the old one away before it fails
    assert (f"filelock 2.0 → {left}" if left != "2.0" else "the same distributions as before") in state
    assert "typing-extensions" not in state


def test_one_installation_at_a_time_and_what_a_killed_one_left_is_cleared(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    (place,) = (path / ".pytorch-offline" for path in venv.glob("lib/python*/site-packages"))
    (place / "work" / "wheels").mkdir(parents=True)
    with FileLock(place / "lock"), pytest.raises(UsageError) as caught:
        install(mirror, venv=venv)
    assert caught.value.code == "destination-busy"
    assert "torch" not in versions_in(venv)
    install(mirror, venv=venv)
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_only_what_is_asked_for_and_what_it_needs(tmp_path: Path, venv: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    evidence = finish(plan_for(mirror, venv=venv, requirements=(Requirement("torch>=2"),)))
    assert [wheel.project for wheel in evidence.installed] == ["filelock", "torch"]
    for text in ("numpy", "torch>=3"):
        with pytest.raises(UnsatisfiableError) as caught:
            plan_for(mirror, venv=venv, requirements=(Requirement(text),))
        assert caught.value.code == "not-in-lock"
        assert text.split(">")[0] in str(caught.value.facts)


def test_a_version_that_pip_would_take_for_the_locked_one_is_replaced(tmp_path: Path, venv: Path) -> None:
    install(make_mirror(tmp_path / "one", [torch("2.4.0+cpu"), pure("filelock", "3.0")]), venv=venv)
    evidence = install(make_mirror(tmp_path / "two", [torch("2.4.0"), pure("filelock", "3.0")]), venv=venv)
    assert [wheel.project for wheel in evidence.installed] == ["torch"]
    assert versions_in(venv)["torch"] == "2.4.0"


def test_conflicts_that_were_there_before_are_only_told(tmp_path: Path, venv: Path) -> None:
    site = next(venv.glob("lib/python*/site-packages"))
    for wheel in (pure("old", "1.0", "Requires-Dist: absent"), pure("picky", "1.0", "Requires-Dist: filelock<3")):
        zipfile.ZipFile(io.BytesIO(wheel.build())).extractall(site)  # what an installer does to a pure wheel
    evidence = install(make_mirror(tmp_path / "two", [pure("filelock", "2.0")]), venv=venv)
    assert [(finding.subject, finding.fails) for finding in evidence.findings] == [("there before", False)]
    with pytest.raises(UnsatisfiableError) as caught:
        install(make_mirror(tmp_path / "three", [pure("filelock", "3.0")]), venv=venv)
    assert caught.value.code == "proof-failed"
    assert "picky" in str(caught.value.facts)
    assert "absent" not in str(caught.value.facts)


def test_a_torch_that_does_not_import_fails_the_proof(tmp_path: Path, venv: Path) -> None:
    broken = Crafted(
        filename="torch-2.4.0+cpu-py3-none-any.whl",
        modules={"torch/__init__.py": "raise OSError('libcudart.so.12: cannot open shared object file')\n"},
        directory="whl/cpu",
    )
    with pytest.raises(UnsatisfiableError) as caught:
        install(make_mirror(tmp_path / "mirror", [broken]), venv=venv)
    assert "libcudart.so.12" in str(caught.value.facts)
    document = json.loads((venv / EVIDENCE).read_text(encoding="utf-8"))
    assert document["proven"] is False


def test_a_torch_of_another_version_fails_the_proof(tmp_path: Path, venv: Path) -> None:
    liar = Crafted(
        filename="torch-2.4.0+cpu-py3-none-any.whl",
        modules=torch("2.3.0+cpu").modules,
        directory="whl/cpu",
    )
    with pytest.raises(IntegrityError) as caught:
        install(make_mirror(tmp_path / "mirror", [liar]), venv=venv)
    assert "2.3.0+cpu" in str(caught.value.facts)


def test_the_destination_must_be_named_and_fit(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for venv, python, code in (
        (None, None, "no-destination"),
        (tmp_path / "full", None, "not-an-environment"),
        (None, tmp_path / "nowhere", "no-interpreter"),
    ):
        with pytest.raises(UsageError) as caught:
            plan_for(mirror, venv=venv, python=python)
        assert caught.value.code == code


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the tests do not run in a virtual environment")
def test_the_tool_s_own_environment_is_not_a_destination_by_accident(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    with pytest.raises(UsageError) as caught:
        plan_for(mirror, venv=Path(sys.prefix))
    assert caught.value.code == "own-environment"
    assert plan_for(mirror, python=Path(sys.executable)).creates is None


def test_a_python_of_the_system_is_left_alone(tmp_path: Path) -> None:
    """PEP 668: the marker in the standard library's directory, here in a copy of an interpreter's survey."""
    survey = read_survey(Path(sys.executable), clean_environment(os.environ))
    owned = type(survey)(
        **{name: getattr(survey, name) for name in survey.__slots__}
        | {"externally_managed": "/usr/lib/python3/EXTERNALLY-MANAGED"}
    )
    with pytest.raises(UsageError) as caught:
        planning._refuse_unsuitable(owned, Request(mirror=tmp_path, python=Path(sys.executable)))
    assert caught.value.code == "externally-managed"
    locked = type(survey)(**{name: getattr(survey, name) for name in survey.__slots__} | {"writable": False})
    with pytest.raises(UsageError) as caught:
        planning._refuse_unsuitable(locked, Request(mirror=tmp_path, python=Path(sys.executable)))
    assert caught.value.code == "not-writable"


def test_an_existing_environment_of_another_python_is_not_taken_for_it(tmp_path: Path, venv: Path) -> None:
    other = interpreter("3.9")
    mirror = make_mirror(tmp_path / "mirror")
    with pytest.raises(UsageError) as caught:
        plan_for(mirror, venv=venv, python=other)
    assert caught.value.code == "other-base"
    assert isinstance(plan_for(mirror, venv=venv, python=Path(sys.executable)).program, Pip)


def test_a_full_disk_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "free_bytes", lambda _: 10)
    with pytest.raises(UpstreamError) as caught:
        plan_for(make_mirror(tmp_path / "mirror"), venv=tmp_path / "env")
    assert caught.value.code == "disk-full"
    assert not (tmp_path / "env").exists()


def test_it_works_where_there_is_no_network_at_all(tmp_path: Path, venv: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("network namespaces are not permitted here")
    mirror = make_mirror(tmp_path / "mirror")
    tool = [sys.executable, "-m", "pytorch_offline", "install", "--from", str(mirror), "--venv", str(venv), "--json"]
    done = subprocess.run(["unshare", "-rn", *tool], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["torch"]["product"] == [[7.0, 10.0], [15.0, 22.0]]
