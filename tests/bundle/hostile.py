"""Bundles made to do harm, some 500 of them: none is obeyed, none makes anything hang, grow or fall over.

Each case starts from a good bundle, changes it as somebody would who can write its manifest, checksum and all, and runs
its installer in a process of its own with bounded memory and time. It must end with an error of ours (where nothing is
harmed by going on, it may also end well), without a traceback, without a raw control character on the terminal, and
with nothing written beside the destination. By hand::

    python -m tests.bundle.hostile [--only WORD] [--every N] [--python EXE]
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.canonical_json import render_canonical
from pytorch_offline.bundle.format.manifest import _manifest_checksum, _manifest_lines, is_content
from pytorch_offline.bundle.format.safe_paths import path_problem
from pytorch_offline.installer.command import run_command_line
from tests.bundle.bundling import wished
from tests.installer.crafted import linux_target, pure, write_mirror
from tests.wheels.wheel_builder import UNSAFE_NAMES, entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30  # of a processor; whatever waits is ended after ten times as long
# Bytes beside what a good bundle takes. A manifest of 64 MiB, the largest that is read, takes the most.
MEMORY = 512 * 1024 * 1024
FILELOCK = "whl/filelock-3.13-py3-none-any.whl"
HOSTILE_TEXTS = (
    "\x1b]0;evil\x07\x1b[31mred",
    "a\u202egpj.exe",
    "\x9b31m",
    "a\rb",
    "a\nb",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "",
    " ",
)
HOSTILE_PATHS = (
    "../evil",
    "whl/../../evil",
    "/etc/evil",
    "//server/share/evil",
    "\\\\server\\share\\evil",
    "C:/evil",
    "C:evil",
    "whl\\..\\..\\evil",
    "whl/./x.whl",
    "whl//x.whl",
    "whl/x.whl/",
    ".",
    "..",
    "whl/CON",
    "whl/nul.whl",
    "whl/COM1.whl",
    "whl/lpt\u00b9.whl",
    "whl/CONIN$",
    "whl/a:b.whl",
    "whl/a?.whl",
    "whl/a*.whl",
    "whl/a|b.whl",
    "whl/a<b>.whl",
    'whl/a".whl',
    "whl/x.whl.",
    "whl/x.whl ",
    " whl/x.whl",
    "whl/" + "x" * 256 + ".whl",
    "/".join(["whl"] * 400),
    "manifest.json",
    "MANIFEST.JSON",
    "manifest.json.sig",
    "manifest.json.keys",
    "UNFINISHED",
    "WHL/FILELOCK-3.13-PY3-NONE-ANY.WHL",
    FILELOCK + "/below",
    "whl/e\u0301.whl",
    *(f"whl/{text}.whl" for text in HOSTILE_TEXTS[:7]),
)
# What pip would obey, were it a line of a requirements file, and what is a path where a name should be.
HOSTILE_NAMES = (
    "--index-url=http://127.0.0.1:9/",
    "-r /etc/passwd",
    "-e .",
    "filelock @ file:///etc/passwd ; #",
    "filelock --hash=sha256:" + "0" * 64 + " #",
    "../../evil",
    "/etc/evil",
    "file lock",
    "Filelock",
    "${HOME}",
    *HOSTILE_TEXTS,
)
SHAPES: tuple[object, ...] = (
    {},
    [],
    "x",
    1,
    None,
    [[]],
    [None],
    [{}],
    {"a": {}},
    {"a": [[[]]]},
    {"python_version": ["3.11"] * 3},
)
NOT_NUMBERS: tuple[object, ...] = (-1, 2**63, 10**19, True, 1.5, "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bundle made to do harm: how, and whether going on all the same does none."""

    name: str
    make: Callable[[Path], object]
    arguments: tuple[str, ...] = ("--dry-run",)
    harmless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: the exit code (negative for a signal), what it said, what it took."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int


@dataclass(slots=True)
class Campaign:
    """A place with a good bundle, a tree beside it that nothing may touch, and what came of the cases."""

    root: Path
    python: str | None = None
    baseline: int = 0
    failures: list[str] = field(default_factory=list)
    ran: int = 0
    slowest: float = 0.0
    largest: int = 0

    @property
    def good(self) -> Path:
        return self.root / "good"

    def prepare(self) -> None:
        """Make the good bundle and the tree beside, and measure what a good run takes."""
        version = self._version()
        machine = linux_target(version)
        wheels = [pure("filelock", "3.13"), pure("sympy", "1.13")]
        mirror = write_mirror(self.root / "mirror", {"node": wheels}, target=machine)
        wished(mirror, self.good, sbom=False)
        for name in ("home", "tmp", "canary"):
            (self.root / name).mkdir()
        (self.root / "canary" / "untouched").write_text("as it was\n", encoding="ascii")
        for name in ("out.txt", "err.txt"):
            (self.root / name).touch()
        self.baseline = self.run(Case(name="good", make=lambda _: None), expect=(0,)).memory

    def _version(self) -> str:
        question = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
        python = self.python or sys.executable
        return subprocess.run([python, "-c", question], check=True, capture_output=True, text=True).stdout.strip()

    def run(self, case: Case, *, expect: tuple[int, ...] = (2, 4, 5)) -> Ended:
        """Run one case and judge how it ended."""
        place = self.root / "case"
        shutil.copytree(self.good, place / "bundle")
        stop = case.make(place / "bundle")
        before = self._tree()
        arguments = ["--from", str(place / "bundle"), "--venv", str(place / "env"), "--json", *case.arguments]
        try:
            ended = self._ended(arguments, place / "bundle" / "install.py")
        finally:
            if callable(stop):
                stop()
        self.ran += 1
        self.slowest = max(self.slowest, ended.seconds)
        self.largest = max(self.largest, ended.memory - self.baseline)
        for problem in self._problems(case, ended, expect, before, place):
            self.failures.append(f"{case.name}: {problem}")
        self._tidy(place)
        return ended

    def _tree(self) -> dict[str, tuple[int, str]]:
        found = {}
        for name in ("home", "tmp", "canary", "good"):
            for path in (self.root / name).rglob("*"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (path.lstat().st_mode, digest)
        for path in (self.root, self.root / "case"):
            found.update((str(entry_), (0, "")) for entry_ in path.iterdir() if entry_.name != "env")
        return found

    def _problems(
        self, case: Case, ended: Ended, expect: tuple[int, ...], before: dict[str, tuple[int, str]], place: Path
    ) -> Iterator[str]:
        allowed = (*expect, 0) if case.harmless else expect
        if ended.code not in allowed:
            yield f"ended with {ended.code}: {ended.err[-600:]}{ended.out[-300:]}"
        if "Traceback" in ended.err:
            yield f"a traceback: {ended.err[-2000:]}"
        if [
            letter
            for letter in ended.err + ended.out
            if letter not in "\n\t" and (ord(letter) < 32 or 127 <= ord(letter) < 160)
        ]:
            yield f"a control character on the terminal: {ended.err!a:.600}"
        if "\u202e" in ended.err + ended.out:
            yield "a mark that turns the direction of writing on the terminal"
        if ended.seconds > SECONDS:
            yield f"took {ended.seconds:.0f} seconds"
        if self.baseline and ended.memory - self.baseline > MEMORY:
            yield f"took {(ended.memory - self.baseline) >> 20} MiB more than a good bundle"
        after = self._tree()
        if after != before:
            different = [path for path in {**before, **after} if before.get(path) != after.get(path)]
            yield f"something was written where nothing may be: {different[:5]}"
        if ended.code != 0 and (place / "env").exists():
            left = [
                str(path.relative_to(place)) for path in (place / "env").rglob("*") if "site-packages/" in str(path)
            ]
            if left:
                yield f"something was installed: {left[:5]}"

    def _ended(self, arguments: list[str], program: Path) -> Ended:
        out, err = self.root / "out.txt", self.root / "err.txt"
        environment = {
            "PATH": "/usr/bin:/bin",  # pip asks a rustc for its version, and rustup writes settings into a new home
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "PYTORCH_OFFLINE_SSH_KEYGEN": "none",
        }
        child = os.fork()
        if child == 0:
            _become(self.python, program, arguments, environment, out=out, err=err)
        watchdog = threading.Timer(10 * SECONDS, os.kill, (child, signal.SIGKILL))
        watchdog.start()
        _, status, used = os.wait4(child, 0)
        watchdog.cancel()
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return Ended(
            code=code,
            out=out.read_text(encoding="utf-8", errors="replace"),
            err=err.read_text(encoding="utf-8", errors="replace"),
            seconds=used.ru_utime + used.ru_stime,
            memory=used.ru_maxrss * 1024,
        )

    def _tidy(self, place: Path) -> None:
        subprocess.run(["chmod", "-R", "u+rwX", str(place)], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", str(place)], check=False)  # deeper than Python's own goes


def _become(
    python: str | None, program: Path, arguments: list[str], environment: dict[str, str], *, out: Path, err: Path
) -> None:
    """Become the installer: in this process's copy, or as another interpreter's own program. Never returns."""
    try:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        limit = 3 * 1024**3
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        os.chdir(environment["HOME"])
        if python is not None:
            os.execve(python, [python, "-I", str(program), *arguments], environment)  # noqa: S606
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  (the child's own)
        code = run_command_line(arguments, str(program))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException as error:  # noqa: BLE001  (nothing may come back into the campaign)
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        os._exit(99)


# --- what is in the manifest ---


def resealed(document: dict[str, Any]) -> bytes:
    """Give a document its id and its checksum, as whoever writes one can."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    with suppress(Exception):
        held = [
            [row["path"], row["size"], row["sha256"], row.get("row")]
            for row in sorted(rest["files"], key=lambda row: str(row["path"]))
            if is_content(row["path"])
        ]
        values = {"lineage": rest["lineage"], "targets": rest["targets"], "files": held}
        rest["id"] = hashlib.sha256(render_canonical(values).encode("ascii")).hexdigest()
    rest["checksum"] = _manifest_checksum(rest)
    return b"".join(_manifest_lines(rest))


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Make a case that changes the manifest's document."""

    def make(bundle: Path) -> None:
        place = bundle / "manifest.json"
        document = json.loads(place.read_bytes())
        change(document)
        with suppress(KeyError, TypeError, AttributeError):
            document["files"].sort(key=lambda row: str(row["path"]))
        place.write_bytes(resealed(document))

    return make


def top_of(document: dict[str, Any]) -> dict[str, Any]:
    return document


def row_of(document: dict[str, Any], path: str = FILELOCK) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in document["files"] if row["path"] == path)
    return found


def target_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["targets"][0]
    return found


def wheel_of(document: dict[str, Any], project: str = "filelock") -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in target_of(document)["wheels"] if row["project"] == project)
    return found


def saying(part: Callable[[dict[str, Any]], dict[str, Any]], **values: object) -> Callable[[Path], None]:
    """Make a case that lets a part of the manifest say something."""

    def change(document: dict[str, Any]) -> None:
        part(document).update(copy.deepcopy(values))
        with suppress(KeyError, TypeError, AttributeError):
            target_of(document)["wheels"].sort(key=lambda row: row["project"])

    return changed(change)


def manifest_cases() -> Iterator[Case]:
    yield from _path_cases()
    yield from _name_cases()
    for value in (*NOT_NUMBERS, *SHAPES):
        for key in (
            "counter",
            "volumes",
            "volume_size",
            "format",
            "files",
            "targets",
            "tools",
            "lineage",
            "created",
            "parity",
        ):
            yield Case(
                name=f"{key} is {value!r}",
                make=saying(top_of, **{key: value}),
                harmless=key in {"volume_size", "lineage", "parity", "tools", "counter", "volumes", "targets"},
            )
        for key in ("path", "size", "sha256", "carried", "row", "pieces"):
            yield Case(
                name=f"{key} of a file is {value!r}",
                make=saying(row_of, **{key: value}),
                harmless=key in {"carried", "row", "pieces"},
            )
        for key in ("markers", "cuda", "wheels", "missing", "glibc"):
            yield Case(name=f"{key} of a target is {value!r}", make=saying(target_of, **{key: value}), harmless=True)
        for key in ("needs", "tags", "requires_python", "installed_bytes"):
            yield Case(name=f"{key} of a wheel is {value!r}", make=saying(wheel_of, **{key: value}), harmless=True)
    for key in (
        "files",
        "targets",
        "tools",
        "lineage",
        "counter",
        "created",
        "format",
        "kind",
        "volumes",
        "parity",
    ):
        yield Case(name=f"without {key}", make=changed(partial(_without, key)), harmless=key == "parity")
    for parity in (
        {"format": 10**9},
        {"scheme": "x" * 1000, "rows": 10**9, "streams": [{}] * 10},
        {"data": -1, "more": 0, "block": 0, "rows": []},
        {"format": 1, "data": 100, "parity": 10**9, "block": 2**62, "stripes": 2**62, "rows": [], "runs": []},
    ):
        yield Case(name=f"parity {str(parity)[:40]}", make=saying(top_of, parity=parity), harmless=True)
    yield Case(name="a wheel that needs itself", make=saying(wheel_of, needs=["filelock"]), harmless=True)
    yield Case(name="wheels that need each other", make=changed(_in_a_circle), harmless=True)
    nothing = [{"volume": 1, "name": f"p{n}", "size": 0, "sha256": "0" * 64} for n in range(100_000)]
    yield Case(name="a hundred thousand pieces of nothing", make=saying(row_of, pieces=nothing))
    yield Case(name="files without number in the list", make=changed(_without_number))
    for name, body in _texts().items():
        yield Case(name=f"a manifest that is {name}", make=partial(replaced, body=body))


def _path_cases() -> Iterator[Case]:
    empty = hashlib.sha256(b"").hexdigest()
    for path in HOSTILE_PATHS:

        def renamed(document: dict[str, Any], path: str = path) -> None:
            row_of(document)["path"] = path
            wheel_of(document)["path"] = path

        def added(document: dict[str, Any], path: str = path) -> None:
            document["files"].append({"path": path, "size": 0, "sha256": empty})

        def piece(document: dict[str, Any], path: str = path) -> None:
            row = row_of(document)
            row["pieces"] = [{"volume": 1, "name": path, "size": row["size"], "sha256": row["sha256"]}]

        shown = ascii(path[:40])
        # Another place below whl/ is no harm: the wheel's bytes are found where they lie, by their hash.
        elsewhere = path in {FILELOCK.upper(), FILELOCK + "/below"}
        yield Case(name=f"path of a wheel {shown}", make=changed(renamed), harmless=elsewhere)
        yield Case(name=f"path of another file {shown}", make=changed(added))
        yield Case(name=f"path of a lock {shown}", make=saying(target_of, pylock=path))
        # A piece that is found nowhere is mended from its file, which lies there whole.
        yield Case(name=f"name of a piece {shown}", make=changed(piece), harmless=path_problem(path) is None)


def _name_cases() -> Iterator[Case]:
    for name in HOSTILE_NAMES:
        shown = ascii(name[:40])
        for key in ("project", "version"):
            yield Case(name=f"{key} {shown}", make=saying(wheel_of, **{key: name}), arguments=())
        for key in ("target", "system", "machine", "implementation", "python", "glibc", "backend", "oldest_pip"):
            yield Case(name=f"{key} of a target {shown}", make=saying(target_of, **{key: name}), harmless=True)
        for key in ("lineage", "created", "base"):
            yield Case(name=f"{key} {shown}", make=saying(top_of, **{key: name}), harmless=key == "lineage")


def _without(key: str, document: dict[str, Any]) -> None:
    del document[key]


def _in_a_circle(document: dict[str, Any]) -> None:
    wheel_of(document)["needs"] = ["sympy"]
    wheel_of(document, "sympy")["needs"] = ["filelock"]


def _without_number(document: dict[str, Any]) -> None:
    document["files"] += [{"path": f"whl/x{n:06}.whl", "size": 2**62, "sha256": "0" * 64} for n in range(100_000)]


def replaced(bundle: Path, body: bytes) -> None:
    (bundle / "manifest.json").write_bytes(body)


def _texts() -> dict[str, bytes]:
    """Give bytes that are no manifest, or none of a bundle."""
    return {
        "nothing": b"",
        "not JSON": b"hello",
        "not UTF-8": b'{"kind": "bundle\xff"}',
        "a byte order mark": b'\xef\xbb\xbf{"kind": "bundle"}',
        "UTF-16": '{"kind": "bundle"}'.encode("utf-16"),
        "nested lists": b"[" * 100_000 + b"]" * 100_000,
        "nested objects": b'{"kind":"bundle","a":' * 50_000,
        "nested in the right place": b'{"kind":"bundle","lineage":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "a number of a million digits": b'{"kind":"bundle","format":' + b"9" * 1_000_000 + b"}",
        "NaN": b'{"kind":"bundle","format":NaN}',
        "Infinity": b'{"kind":"bundle","format":-Infinity}',
        "a fraction": b'{"kind":"bundle","format":1.0}',
        "an exponent": b'{"kind":"bundle","format":1e400}',
        "twice the same key": b'{"kind":"bundle","kind":"bundle","format":1}',
        "of a later format": b'{"kind":"bundle","format":2}',
        "a lone surrogate": b'{"kind":"bundle","lineage":"\\ud800"}',
        "a null byte": b'{"kind":"bundle"}\0',
        "lists without number": b'{"kind":"bundle","a":[' + b"[]," * 22_000_000 + b"[]]}",
        "two documents": b'{"kind":"bundle"}{"kind":"bundle"}',
        "a mirror's": b'{"format": 1, "files": [\n]}\n',
    }


# --- what lies in the directory ---


def sparse(path: Path, size: int) -> None:
    """Make a file of any size that takes no room."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def put(bundle: Path, name: str, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file."""
    path = bundle / name
    path.unlink(missing_ok=True)
    make(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path) if len(str(path)) > 100 else str(path))


def growing(bundle: Path, name: str) -> Callable[[], None]:
    """Let a file grow for as long as it is looked at."""
    path = bundle / name
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.wait(0.001):
                file.write(b"x" * 65536)
                file.flush()
                if file.tell() > 500_000_000:
                    return

    thread = threading.Thread(target=grow, daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    return end


def whole_disk(bundle: Path) -> None:
    shutil.rmtree(bundle / "whl")
    (bundle / "whl").symlink_to("/")


def deep(path: Path) -> None:
    """Make directories below each other, deeper than a path may be long."""
    here = os.open(path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def crowded(path: Path) -> None:
    for number in range(20_000):
        (path / f"{number}").touch()


def strange_names(path: Path) -> None:
    for name in (
        b"\x1b[31mred.whl",
        b"a\nb.whl",
        b"\xff\xfe.whl",
        "a\u202egpj.whl".encode(),
        b"-rf",
        b"*",
        b"$(id).whl",
    ):
        with suppress(OSError):
            os.close(os.open(os.fsencode(path) + b"/" + name, os.O_CREAT | os.O_WRONLY))


def medium_cases() -> Iterator[Case]:
    for name in ("manifest.json", FILELOCK, "manifest.json.sig", "manifest.json.keys", "UNFINISHED"):
        essential = name not in {"manifest.json.sig", "manifest.json.keys", "UNFINISHED"}
        things: dict[str, Callable[[Path], object]] = {
            "a FIFO": os.mkfifo,
            "a socket": listening,
            "a directory": Path.mkdir,
            "a link to /etc/passwd": lambda path: path.symlink_to("/etc/passwd"),
            "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
            "a link to itself": lambda path: path.symlink_to(path.name),
            "a link to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
            "10 GB of nothing": lambda path: sparse(path, 10 * 10**9),
            "noise": lambda path: path.write_bytes(os.urandom(5000)),
        }
        if os.geteuid() == 0:
            things["a device"] = lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))
        for what, make in things.items():
            yield Case(
                name=f"{name} is {what}",
                make=partial(put, name=name, make=make),
                harmless=not essential,
            )
        if essential:
            yield Case(name=f"{name} grows", make=partial(growing, name=name))
    yield Case(
        name="whl is a link to the root",
        make=whole_disk,
    )
    yield Case(
        name="a link from whl to the bundle", make=lambda bundle: (bundle / "whl/loop").symlink_to(".."), harmless=True
    )
    yield Case(name="a link beside to the root", make=lambda bundle: (bundle / "root").symlink_to("/"), harmless=True)
    yield Case(name="directories without end", make=lambda bundle: deep(bundle / "whl"), harmless=True)
    yield Case(name="files without number", make=lambda bundle: crowded(bundle / "whl"), harmless=True)
    yield Case(name="strange names", make=lambda bundle: strange_names(bundle / "whl"), harmless=True)
    yield Case(name="strange names at the top", make=strange_names, harmless=True)
    yield Case(name="a FIFO beside", make=lambda bundle: os.mkfifo(bundle / "whl/more.whl"), harmless=True)


# --- what is in a wheel that the manifest vouches for ---


def with_member(name: str, data: bytes = b"evil\n", mode: int = 0o100644) -> Callable[[bytes], bytes]:
    """Add a member to a wheel."""

    def change(wheel: bytes) -> bytes:
        with tempfile.TemporaryFile() as file:
            file.write(wheel)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(entry(name, mode=mode), data)
            file.seek(0)
            return file.read()

    return change


def hostile_wheel(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change a wheel and let the whole bundle vouch for it: row, lock, id and checksum."""

    def make(bundle: Path) -> None:
        place = bundle / FILELOCK
        before = hashlib.sha256(place.read_bytes()).hexdigest()
        body = change(place.read_bytes())
        place.write_bytes(body)
        document = json.loads((bundle / "manifest.json").read_bytes())
        row_of(document).update(size=len(body), sha256=hashlib.sha256(body).hexdigest())
        for lock in sorted((bundle / "locks").iterdir()):
            text = lock.read_bytes().replace(before.encode(), row_of(document)["sha256"].encode())
            lock.write_bytes(text)
            row_of(document, f"locks/{lock.name}").update(size=len(text), sha256=hashlib.sha256(text).hexdigest())
        (bundle / "manifest.json").write_bytes(resealed(document))

    return make


def wheel_cases() -> Iterator[Case]:
    for name in (*UNSAFE_NAMES, "../../../../../canary/evil", "a/../../../../../canary/evil"):
        yield Case(name=f"a wheel with {name[:40]!a}", make=hostile_wheel(with_member(name)), arguments=())
    changes: dict[str, Callable[[bytes], bytes]] = {
        "a link": with_member("filelock/link", b"/etc/passwd", 0o120777),
        "a FIFO": with_member("filelock/fifo", b"", 0o010644),
        "a scheme of its own": with_member("filelock-3.13.data/etc/evil"),
        "scripts elsewhere": with_member("filelock-3.13.data/scripts/../../../../canary/evil"),
        "another's data": with_member("other-1.0.data/data/evil"),
        "a member twice": with_member("filelock/__init__.py"),
        "a bomb": with_member("filelock/zeros", bytes(300_000_000)),
        "commands elsewhere": with_member(
            "filelock-3.13.dist-info/entry_points.txt", b"[console_scripts]\n../../../canary/evil = filelock:x\n"
        ),
        "nothing of a zip": lambda _: b"not a zip",
        "half of itself": lambda wheel: wheel[: len(wheel) // 2],
        "another behind it": lambda wheel: wheel + wheel,
        "no RECORD": lambda wheel: wheel.replace(b"RECORD", b"RECOOD"),
    }
    for name, change in changes.items():
        yield Case(
            name=f"a wheel with {name}", make=hostile_wheel(change), arguments=(), harmless=name == "another behind it"
        )


def all_cases() -> list[Case]:
    """List every case."""
    cases = [*manifest_cases(), *medium_cases(), *wheel_cases()]
    return list({case.name: case for case in cases}.values())


def main() -> int:
    parser = argparse.ArgumentParser(description="Bundles made to do harm.")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--python", help="run install.py under this interpreter")
    parser.add_argument("--every", type=int, default=1, help="one of so many of them")
    options = parser.parse_args()
    cases = [case for case in all_cases() if options.only in case.name][:: options.every]
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        campaign = Campaign(Path(scratch), options.python)
        campaign.prepare()
        for case in cases:
            before = len(campaign.failures)
            campaign.run(case)
            for failure in campaign.failures[before:]:
                sys.stdout.write(f"FAILED {failure}\n")
                sys.stdout.flush()
    sys.stdout.write(
        f"{len(cases)} cases, {len(campaign.failures)} failures; slowest {campaign.slowest:.1f} s,"
        f" most memory {campaign.largest >> 20} MiB beyond a good bundle's\n"
    )
    return bool(campaign.failures)


if __name__ == "__main__":
    sys.exit(main())
