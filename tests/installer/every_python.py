"""One bundle, every CPython of this machine as a destination, in every shape that people have it in.

    python -m tests.installer.every_python [--keep DIR] [VERSION…]

Each is installed into from ``install.py`` alone, where there is no network, run by the oldest interpreter and by its
own: an environment with its own old pip; one without pip whose Python has ensurepip; a prefix as conda makes it
(records, packages of conda's, no ``pyvenv.cfg``); and a bare one, with neither pip nor ensurepip.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.tool import can_unshare
from tests.installer.crafted import Crafted, linux_target, pure, torch, write_mirror
from tests.interpreters import MINORS, find_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHAPES = ("own pip", "without pip", "conda", "bare")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A destination and who runs the installer there."""

    version: str
    shape: str
    run_by: str

    def __str__(self) -> str:
        return f"{self.version}, {self.shape}, run by {self.run_by}"


def cases(versions: Sequence[str] = MINORS) -> Iterator[Case]:
    """Give every case that this machine has the interpreters for."""
    oldest = find_oldest()
    for version in versions:
        for shape in SHAPES if find_interpreter(version) else ():
            for run_by in dict.fromkeys((oldest, version)):
                yield Case(version=version, shape=shape, run_by=run_by)


def find_oldest() -> str:
    """Name the oldest CPython of this machine."""
    return next(version for version in MINORS if find_interpreter(version))


def write_bundle(directory: Path, versions: Sequence[str] = MINORS) -> Path:
    """Write a mirror with a lock for each Python, with the old pips of all, and the bundle of it."""
    here = {version: python for version in versions if (python := find_interpreter(version))}
    bundled = {}
    for python in here.values():
        for wheel in (python.parent.parent / "lib").glob("python3.*/ensurepip/_bundled/pip-*.whl"):
            bundled[wheel.name] = Crafted(filename=wheel.name, body=wheel.read_bytes())
    locks, targets = {}, {}
    for version in here:
        short = version.replace(".", "")
        abi = f"cp{short}m" if version in {"3.6", "3.7"} else f"cp{short}"
        own = Crafted(filename=f"native-1.0-cp{short}-{abi}-linux_x86_64.whl", modules={"native.py": "VALUE = 7\n"})
        locks[f"node{short}"] = [torch(), pure("filelock", "3.0"), own]
        targets[f"node{short}"] = linux_target(f"{version}.1", glibc=(2, 28))
    mirror = write_mirror(directory / "mirror", locks, target=targets, beside=bundled.values())
    tool = [sys.executable, "-m", "pytorch_offline", "bundle", "--mirror", str(mirror)]
    command = [*tool, "-o", str(directory / "bundle"), "--no-default-index"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return directory / "bundle"


def make_destination(case: Case, place: Path) -> list[str]:
    """Make a destination of the case's shape and return the options that name it."""
    python = find_interpreter(case.version)
    if python is None:
        raise RuntimeError(f"no CPython {case.version}")
    if case.shape == "own pip":
        return ["--venv", str(place), "--python", str(python)]
    if case.shape == "without pip":
        subprocess.run([python, "-I", "-m", "venv", "--without-pip", place], check=True)
        return ["--venv", str(place)]
    lay_out_prefix(python, place)
    library = place / "lib" / f"python{case.version}"
    if case.shape == "bare":
        shutil.rmtree(library / "ensurepip")
        shutil.rmtree(library / "site-packages")
        (library / "site-packages").mkdir()
    else:
        make_conda(place, library / "site-packages")
    return ["--prefix", str(place)]


def lay_out_prefix(python: Path, place: Path) -> None:
    """Make a whole Python of its own in a directory, its standard library linked, its packages copied."""
    base = python.parent.parent
    library = Path("lib", f"python{python.resolve().name.removeprefix('python')}")

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    skipped = shutil.ignore_patterns("test", "tests", "site-packages", "__pycache__", "idlelib", "tkinter", "*.a")
    shutil.copytree(base / library, place / library, ignore=skipped, copy_function=link)
    shutil.copytree(base / library / "site-packages", place / library / "site-packages")
    for shared in (base / "lib").glob("libpython*"):
        shutil.copy2(shared, place / "lib" / shared.name, follow_symlinks=False)
    shutil.copytree(base / "include", place / "include", copy_function=link)
    (place / "bin").mkdir()
    shutil.copy2(python.resolve(), place / "bin" / "python")


def make_conda(place: Path, site: Path) -> None:
    """Give a prefix what conda writes: records, and packages whose INSTALLER it is; one of them an older filelock."""
    records = place / "conda-meta"
    records.mkdir()
    (records / "history").touch()
    old = pure("filelock", "2.0")
    for path, text in old.modules.items():
        (site / path).parent.mkdir(parents=True)
        (site / path).write_text(text, encoding="utf-8")
    information = site / "filelock-2.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: filelock\nVersion: 2.0\n", encoding="utf-8")
    (information / "RECORD").write_text("filelock/__init__.py,,\nfilelock-2.0.dist-info/RECORD,,\n", encoding="utf-8")
    for held in site.glob("*.dist-info"):
        (held / "INSTALLER").write_text("conda\n", encoding="utf-8")
        name, version = held.name.removesuffix(".dist-info").rsplit("-", 1)
        files = {"name": name, "files": [str(path.relative_to(place)) for path in held.iterdir()]}
        (records / f"{name}-{version}-py_0.json").write_text(json.dumps(files), encoding="utf-8")


def install(bundle: Path, case: Case, place: Path) -> str:
    """Install into a destination of the case's shape; empty if all is as it should be, else what is not."""
    options = make_destination(case, place)
    runner = find_interpreter(case.run_by)
    command = [str(runner), str(bundle / "install.py"), *options, "--json"]
    if can_unshare():
        command = ["unshare", "-n", *command]
    bare = {"PATH": "/usr/bin:/bin"}  # neither a home nor a locale
    done = subprocess.run(command, env=bare, cwd="/", capture_output=True, check=False)
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-1500:]}"
    if json.loads(done.stdout)["target"] != f"node{case.version.replace('.', '')}":
        return f"the wrong lock was chosen: {done.stdout.decode()}"
    python = next(path for name in ("python", "python3") if (path := place / "bin" / name).exists())
    code = "import torch, filelock, native; assert (torch.__version__, filelock.__version__) == ('2.4.0+cpu', '3.0')"
    proof = subprocess.run([python, "-I", "-c", code], capture_output=True, check=False)
    if proof.returncode:
        return proof.stderr.decode()
    held = sorted(path.name for path in place.glob("lib/python*/site-packages/filelock-*"))
    return "" if held == ["filelock-3.0.dist-info"] else f"site-packages holds {held}"


def main() -> int:
    """Run every case and count them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=list(MINORS))
    parser.add_argument("--keep", type=Path, default=None, help="leave the destinations there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        bundle = write_bundle(root, options.versions)
        failed = total = 0
        for number, case in enumerate(cases(options.versions)):
            began = time.monotonic()
            place = root / f"destination {number}"
            said = install(bundle, case, place)
            total += 1
            failed += bool(said)
            print(f"{'FAILED' if said else 'ok':6} {case} ({time.monotonic() - began:.1f} s) {said}", flush=True)
            if not options.keep:
                shutil.rmtree(place, ignore_errors=True)
        print(f"{total} cases, {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
