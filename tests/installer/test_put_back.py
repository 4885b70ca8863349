"""Whatever fails puts back what was there, to the byte and to the time stamp; and what does not fail leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UnsatisfiableError, UpstreamError, UsageError
from pytorch_offline.installer import staging
from pytorch_offline.installer.destination import read_survey
from pytorch_offline.installer.model import Request
from pytorch_offline.installer.staged_files import RecordedFile, StagedDistribution, StageHands
from pytorch_offline.installer.steps import carry_out
from pytorch_offline.installer.workshop import WORKSHOP, hold_workshop, put_right
from tests.e2e.tool import run_tool
from tests.installer import surveys
from tests.installer.crafted import Crafted, linux_target, pure, record_hash, write_mirror
from tests.installer.kill_campaign import Campaign, wheel
from tests.installer.snapshot import Entry, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Bundles = Callable[[str, Sequence[Crafted]], Path]

THIS = "{}.{}.{}".format(*sys.version_info[:3])
BROKEN_TORCH = Crafted(
    filename="torch-2.0-py3-none-any.whl", modules={"torch/__init__.py": "raise ImportError('libcudart.so.13')\n"}
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Write bundles, each once."""
    root = tmp_path_factory.mktemp("bundles")

    def bundle(name: str, wheels: Sequence[Crafted]) -> Path:
        if not (root / name).exists():
            write_mirror(root / f"{name}-mirror", {"node": wheels}, target=linux_target(THIS, glibc=(2, 17)))
            run_tool("bundle", "--mirror", root / f"{name}-mirror", "-o", root / name, cwd=root)
        return root / name

    return bundle


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, bundles: Bundles) -> Path:
    """An environment with a package in its first version, a neighbour, and something of the user's own in it."""
    root = tmp_path_factory.mktemp("environment")
    path = root / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    install(bundles("first", [wheel("alpha", "1.0"), pure("innocent", "3.0")]), path)
    site = site_of(path)
    (site / "alpha" / "notes.txt").write_text("mine\n", encoding="utf-8")
    (site / "alpha" / "part1.py").chmod(0o640)
    return path.rename(root / "template")


@pytest.fixture
def environment(template: Path) -> Path:
    """The environment, fresh for each test, always under the path that it was made for."""
    path = template.with_name("env")
    shutil.rmtree(path, ignore_errors=True)
    return Path(shutil.copytree(template, path, symlinks=True))


def site_of(environment: Path) -> Path:
    return next((environment / "lib").glob("*/site-packages"))


def install(bundle: Path, venv: Path) -> None:
    pip = (sys.executable, "-I", "-m", "pip")
    context = surveys.context()._replace(own_pip=(pip, "26.1"))
    carry_out(Request(places=(str(bundle),), venv=str(venv)), context)


def unchanged(environment: Path) -> dict[str, Entry]:
    """All of an environment but the evidence, which tells of failures, too."""
    found = snapshot(environment)
    return {path: entry for path, entry in found.items() if not path.startswith("share") and path != "."}


def test_a_proof_that_fails_brings_the_old_ones_back(environment: Path, bundles: Bundles) -> None:
    before = unchanged(environment)
    with pytest.raises(PytorchOfflineError) as caught:
        install(bundles("broken", [wheel("alpha", "2.0"), BROKEN_TORCH]), environment)
    assert caught.value.code == "proof-failed"
    assert unchanged(environment) == before


def test_an_installer_that_fails_changes_nothing(
    environment: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = unchanged(environment)
    monkeypatch.setattr(staging, "pip_staging_arguments", lambda **_: ("install", "--no-such-option"))
    with pytest.raises(UnsatisfiableError) as caught:
        install(bundles("second", [wheel("alpha", "2.0")]), environment)
    assert caught.value.code == "installer-failed"
    assert "no such option" in str(caught.value.facts["it says"])
    assert unchanged(environment) == before
    assert not (environment / WORKSHOP).exists()


def test_bytes_that_go_bad_on_the_stage_are_found_before_the_switch(
    environment: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = unchanged(environment)
    real = staging._hand_over

    def damaged(*given: object) -> None:
        for path in environment.glob(f"{WORKSHOP}/stage/**/alpha/part7.py"):
            path.write_bytes(path.read_bytes()[:-1])
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "_hand_over", damaged)
    with pytest.raises(IntegrityError) as caught:
        install(bundles("second", [wheel("alpha", "2.0")]), environment)
    assert caught.value.code == "staged-damaged"
    assert "alpha/part7.py" in caught.value.facts
    assert unchanged(environment) == before


def test_a_new_environment_that_fails_is_removed(tmp_path: Path, bundles: Bundles) -> None:
    bundle = bundles("broken", [wheel("alpha", "2.0"), BROKEN_TORCH])
    with pytest.raises(PytorchOfflineError):
        install(bundle, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PytorchOfflineError):
        install(bundle, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("met", [None, b"on"])
def test_a_file_of_several_wheels_that_is_met_while_it_is_unpacked_again_is_looked_at_again(
    met: bytes | None, tmp_path: Path
) -> None:
    shared = tmp_path / "nvidia" / "__init__.py"
    shared.parent.mkdir()
    if met is not None:
        shared.write_bytes(met)
    expected = record_hash(b"once").rstrip("=")
    files = [RecordedFile("nvidia/__init__.py", str(shared), expected, "/env/nvidia/__init__.py")]
    hands = StageHands([], 1)
    hands.give(StagedDistribution("nvidia-one", str(tmp_path), (1, 1)), files)
    hands.results("nvidia-one")  # the first look is over
    shared.write_bytes(b"once")
    assert [handled.sha256 for handled in hands.results("nvidia-one")[1]] == [expected]
    shared.write_bytes(b"damaged")
    assert hands.results("nvidia-one")[1][0].sha256 != expected
    hands.close()


def test_a_disk_that_fills_up_while_an_environment_is_created_is_told_as_that(
    tmp_path: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ensurepip says of it is a traceback; the room that is left says it plainly."""
    base = tmp_path / "base"
    base.write_text(
        f'#!/bin/sh\ncase "$*" in *venv*) echo "error 28"; exit 1;; *) exec {sys.executable} "$@";; esac\n',
        encoding="utf-8",
    )
    base.chmod(0o755)
    bundle, venv = bundles("first", [wheel("alpha", "1.0"), pure("innocent", "3.0")]), tmp_path / "new"
    survey = read_survey(sys.executable, surveys.context())._replace(executable=str(base))
    monkeypatch.setattr("pytorch_offline.installer.steps.read_survey", lambda *_: survey)
    with pytest.raises(UnsatisfiableError, match="cannot create"):
        install(bundle, venv)
    monkeypatch.setattr("pytorch_offline.installer.workplace.LITTLE_ROOM", 1 << 62)
    with pytest.raises(UpstreamError) as caught:
        install(bundle, venv)
    assert caught.value.code == "disk-full"
    assert not venv.exists()


@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
def test_nothing_appears_again_where_creating_an_environment_is_stopped(tmp_path: Path, bundles: Bundles) -> None:
    """To ``venv`` we are the only ones who are told to end, and it has a child that unpacks pip."""
    venv = tmp_path / "new"
    bundle = bundles("first", [wheel("alpha", "1.0"), pure("innocent", "3.0")])
    command = [sys.executable, str(bundle / "install.py"), "--venv", str(venv)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(venv.glob("lib/*/site-packages/*")):
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    time.sleep(0.5)
    assert list(tmp_path.iterdir()) == []


def test_what_is_replaced_goes_and_what_is_the_user_s_or_a_neighbour_s_stays(
    environment: Path, bundles: Bundles
) -> None:
    site = site_of(environment)
    (site / "alpha" / "__pycache__" / "part2.cpython-399.pyc").write_bytes(b"of another Python")
    (site / "elsewhere").symlink_to("alpha")
    innocent = {path: entry for path, entry in snapshot(environment).items() if "innocent" in path}
    second = wheel("alpha", "2.0")
    del second.modules["alpha/part3.py"]
    install(bundles("without part 3", [second]), environment)
    assert not list(site.glob("alpha/**/part3*"))
    assert not list(site.glob("alpha-1.0*"))
    assert not list(site.glob("alpha/**/*399.pyc"))
    assert (site / "alpha" / "notes.txt").read_text() == "mine\n"
    assert (site / "elsewhere").is_symlink()
    after = snapshot(environment)
    assert {path: entry for path, entry in after.items() if "innocent" in path} == innocent
    module = subprocess.run(
        [environment / "bin" / "python", "-c", "import alpha.part1 as m; print(m.value, m.__cached__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert module.stdout.startswith("2.0 ")
    rows = (site / "alpha-2.0.dist-info" / "RECORD").read_text()
    assert f"alpha/__pycache__/part1.{sys.implementation.cache_tag}.pyc,," in rows


def test_pip_can_take_away_what_was_installed(environment: Path, bundles: Bundles) -> None:
    del bundles
    (site_of(environment) / "alpha" / "notes.txt").unlink()
    pip = (sys.executable, "-I", "-m", "pip", "--python", str(environment / "bin" / "python"))
    subprocess.run((*pip, "uninstall", "-y", "alpha"), check=True, capture_output=True)
    assert not [path for path in environment.rglob("*") if "alpha" in path.name]


def test_one_installation_at_a_time(environment: Path, bundles: Bundles) -> None:
    second = bundles("second", [wheel("alpha", "2.0")])
    with hold_workshop(str(environment / WORKSHOP), surveys.context()):
        with pytest.raises(UsageError) as caught:
            install(second, environment)
        assert caught.value.code == "destination-busy"
    install(second, environment)
    assert not (environment / WORKSHOP).exists()


def test_what_a_killed_run_left_is_told_by_a_dry_run_and_undone_by_the_next(
    environment: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = bundles("second", [wheel("alpha", "2.0")])
    before = unchanged(environment)
    child = os.fork()
    if child == 0:  # a process that is gone in the midst of its switch
        real, calls = os.rename, []

        def rename(source: str, target: str) -> None:
            calls.append(source)
            if len([call for call in calls if WORKSHOP not in call]) > 3:  # as many old files are in the trash
                os._exit(9)
            real(source, target)

        monkeypatch.setattr(os, "rename", rename)
        install(second, environment)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (environment / WORKSHOP / "journal.json").exists()
    warnings: list[str] = []
    context = surveys.context()._replace(warn=warnings.append, own_pip=((sys.executable, "-m", "pip"), "26.1"))
    dry = Request(places=(str(second),), venv=str(environment), dry_run=True)
    carry_out(dry, context)
    assert any("interrupted while it changed files" in line for line in warnings)
    assert (environment / WORKSHOP / "journal.json").exists()
    survey = read_survey(str(environment / "bin" / "python"), context)
    assert put_right(survey, context)
    assert unchanged(environment) == before


@pytest.mark.slow
def test_killed_at_some_moments(tmp_path: Path) -> None:
    """A slice of the campaign; ``python -m tests.installer.kill_campaign`` has the rest."""
    if os.name != "posix":
        pytest.skip("kill -9 is POSIX's")
    campaign = Campaign(directory=tmp_path, installer="pip", creating=False, seed=7)
    campaign.run(2)
    assert campaign.failures == []
