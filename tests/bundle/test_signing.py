"""Signing with keys as people have them, and handing over from one to the next."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading.rotation import parse_rotations
from pytorch_offline.bundle.reading.signature import Pins, check_signature
from pytorch_offline.bundle.writing.handing_over import hand_over, read_rotations, rotations_of
from pytorch_offline.bundle.writing.signing import read_public_key, sign_manifest
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.keys import KINDS, make_key, needs_ssh_keygen, public_blob, public_line, sign

pytestmark = needs_ssh_keygen
MANIFEST = b'{"format":1}\n'


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked: neither by an agent nor in a window."""
    for name in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS", "PYTORCH_OFFLINE_SSH_KEYGEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent here")
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    while not socket.exists():
        assert process.poll() is None
    yield
    process.terminate()
    process.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_signs_for_the_far_side(tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path, kind)
    signature = sign_manifest(MANIFEST, key)
    status = check_signature(MANIFEST, signature, pins=Pins("p", f"me {public_line(key)}\n"), program="none")
    assert status.principal == "me"


def test_a_signature_that_is_there_stays_if_it_is_right_and_by_this_key(tmp_path: Path) -> None:
    key, other = make_key(tmp_path, "ecdsa -b 256", "key"), make_key(tmp_path, name="other")
    there = sign_manifest(MANIFEST, key)
    assert sign_manifest(MANIFEST, key, there=there) == there, "ECDSA's would differ each time"
    for wrong in (sign(other, MANIFEST), sign(key, b"else"), sign(key, MANIFEST, "git"), b"noise"):
        made = sign_manifest(MANIFEST, key, there=wrong)
        assert made != wrong
        assert check_signature(MANIFEST, made, pins=None).signed


@pytest.mark.usefixtures("agent")
def test_a_public_key_signs_by_the_agent(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
    public = key.with_name("key.pub").rename(tmp_path / "elsewhere.pub")
    key.unlink()
    assert check_signature(MANIFEST, sign_manifest(MANIFEST, public), pins=None).signed
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(UsageError) as refusal:
        sign_manifest(MANIFEST, public)
    assert refusal.value.code == "bad-signing-key"


def test_what_keeps_a_key_from_signing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path)
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True)
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense\n", encoding="ascii")
    nonsense.chmod(0o600)
    open_to_all = Path(shutil.copy(key, tmp_path / "open"))
    open_to_all.chmod(0o644)
    short = make_key(tmp_path, "rsa -b 1024", "short")
    heard: list[str] = []
    for path, hint in (
        (tmp_path / "absent", "no such file"),
        (locked, "passphrase"),
        (nonsense, ""),
        (open_to_all, "chmod 600"),
        (short, ""),
        (tmp_path, ""),
    ):
        with pytest.raises(UsageError) as refusal:
            sign_manifest(MANIFEST, path, told=heard.append)
        assert refusal.value.code == "bad-signing-key", path
        assert hint in str(refusal.value.hint).lower(), (path, refusal.value.facts)
    assert heard
    old = tmp_path / "old-ssh-keygen"
    old.write_text("#!/bin/sh\necho 'ssh-keygen: unknown option -- Y' >&2\nexit 1\n", encoding="ascii")
    old.chmod(0o755)
    for program in (str(old), str(tmp_path / "absent"), "none"):
        monkeypatch.setenv("PYTORCH_OFFLINE_SSH_KEYGEN", program)
        with pytest.raises(UsageError) as refusal:
            sign_manifest(MANIFEST, key)
        assert refusal.value.code == "no-ssh-keygen"


def test_a_key_hands_over_once_and_all_statements_are_kept(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    first, second, third = (make_key(tmp_path, name=name) for name in ("first", "second", "third"))
    assert read_rotations(mirror) is None
    once = hand_over(mirror, first, second, created="2026-01-01T00:00:00Z")
    assert hand_over(mirror, first, second, created="2026-06-01T00:00:00Z") == once
    assert rotations_of(mirror).read_bytes() == once == read_rotations(mirror)
    twice = hand_over(mirror, second, third, created="2026-01-01T00:00:00Z")
    assert twice.startswith(once)
    assert [rotation.created for rotation in parse_rotations(twice)] == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]
    status = check_signature(
        MANIFEST, sign_manifest(MANIFEST, third), pins=Pins("p", f"me {public_line(first)}\n"), rotations=twice
    )
    assert len(status.replaced) == 2
    with pytest.raises(UsageError):
        hand_over(mirror, third, third, created="2026-01-01T00:00:00Z")
    rotations_of(mirror).write_bytes(b"noise")
    with pytest.raises(IntegrityError):
        read_rotations(mirror)


def test_a_public_half_is_found_without_a_file_of_its_own(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    wanted = public_blob(key)
    assert read_public_key(key) == wanted == read_public_key(key.with_name("key.pub"))
    key.with_name("key.pub").unlink()
    assert read_public_key(key) == wanted
