"""A signed bundle from the command that writes it to the ``install.py`` that judges it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading.ssh_signature import ssh_fingerprint
from tests.bundle.keys import make_key, needs_ssh_keygen, public_blob, public_line
from tests.e2e.tool import run_json, run_tool
from tests.installer.crafted import linux_target, pure, write_mirror

pytestmark = [needs_ssh_keygen, pytest.mark.skipif(sys.platform != "linux", reason="the crafted target is Linux")]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    version = ".".join(map(str, sys.version_info[:3]))
    return write_mirror(tmp_path / "mirror", {"node": [pure("filelock", "3.13")]}, target=linux_target(version))


def bundle(mirror: Path, out: Path, *options: str | Path) -> dict[str, object]:
    own = ("--mirror", mirror, "-o", out, "--offline", "--no-sbom")
    document = run_json("bundle", *own, *options, cwd=mirror.parent)
    assert isinstance(document, dict)
    return document


def install(
    out: Path, *options: str | Path, road: str = "none", expect: int = 0, dry: bool = True
) -> tuple[dict[str, object], str]:
    """Run the bundle's own installer, as far as the plan where it is ``dry``."""
    home = out.parent / "home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTORCH_OFFLINE_SSH_KEYGEN": road}
    venv = out.parent / "environment"
    command = [sys.executable, "-I", out / "install.py", "--venv", venv, "--json", *options]
    if dry:
        command.append("--dry-run")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    assert venv.exists() is not dry
    return json.loads(done.stdout), done.stderr


def code_of(result: tuple[dict[str, object], str]) -> object:
    error = result[0]["error"]
    assert isinstance(error, dict)
    return error["code"]


def stat_of(out: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in out.rglob("*")
        if path.is_file()
    }


def test_whoever_pins_the_key_takes_its_bundles_alone(mirror: Path, tmp_path: Path) -> None:
    key, other = make_key(tmp_path, name="key"), make_key(tmp_path, name="other")
    signed, stranger, unsigned = tmp_path / "signed", tmp_path / "stranger", tmp_path / "unsigned"
    assert bundle(mirror, signed, "--sign", key)["signed_by"] == ssh_fingerprint(public_blob(key))
    bundle(mirror, stranger, "--sign", other)
    assert bundle(mirror, unsigned)["signed_by"] is None
    pins = tmp_path / "pins"
    pins.write_text(f"releases {public_line(key)}\n", encoding="ascii")
    trusting = ("--allowed-signers", pins)
    for road in ("none", "ssh-keygen"):
        assert "signed by releases" in install(signed, *trusting, road=road)[1]
        assert code_of(install(stranger, *trusting, road=road, expect=4)) == "unknown-signer"
    assert code_of(install(unsigned, *trusting, expect=4)) == "unsigned"
    install(unsigned, *trusting, "--allow-unsigned")
    assert "nobody is pinned here" in install(signed)[1]
    assert "not signed" in install(unsigned)[1]
    manifest = signed / "manifest.json"
    manifest.write_bytes((unsigned / "manifest.json").read_bytes().replace(b'"counter":1', b'"counter":2'))
    install(signed, *trusting, expect=4)


def test_signing_again_changes_nothing_and_signing_later_only_adds(mirror: Path, tmp_path: Path) -> None:
    key, out = make_key(tmp_path, "ecdsa -b 256"), tmp_path / "out"
    bundle(mirror, out)
    before = stat_of(out)
    bundle(mirror, out, "--sign", key)
    signed = stat_of(out)
    assert {name: found[1] for name, found in signed.items() if name != "manifest.json.sig"} == {
        name: found[1] for name, found in before.items()
    }
    bundle(mirror, out, "--sign", key)
    assert stat_of(out) == signed
    assert bundle(mirror, out)["signed_by"] is not None
    assert stat_of(out) == signed
    bundle(mirror, tmp_path / "again", "--sign", make_key(tmp_path, name="ed"))
    bundle(mirror, tmp_path / "third", "--sign", tmp_path / "ed")
    assert stat_of(tmp_path / "again") == stat_of(tmp_path / "third")


def test_a_new_key_is_followed_from_the_old_one(mirror: Path, tmp_path: Path) -> None:
    old, new, out = make_key(tmp_path, name="old"), make_key(tmp_path, name="new"), tmp_path / "out"
    pins = tmp_path / "pins"
    pins.write_text(f"releases {public_line(old)}\n", encoding="ascii")
    bundle(mirror, out, "--sign", new, "--rotate-from", old)
    assert "was replaced" in install(out, "--allowed-signers", pins)[1]
    later = tmp_path / "later"
    bundle(mirror, later, "--sign", new)
    assert (later / "manifest.json.keys").read_bytes() == (out / "manifest.json.keys").read_bytes()
    assert "was replaced" in install(later, "--allowed-signers", pins)[1]
    (later / "manifest.json.keys").unlink()
    assert code_of(install(later, "--allowed-signers", pins, expect=4)) == "unknown-signer"


def test_a_key_that_cannot_sign_leaves_no_bundle_behind(mirror: Path, tmp_path: Path) -> None:
    document = run_json(
        "bundle", "--mirror", mirror, "-o", tmp_path / "out", "--sign", "absent", cwd=tmp_path, expect=2
    )
    assert document["error"]["code"] == "bad-signing-key"
    assert not (tmp_path / "out").exists()
    run_json("bundle", "--mirror", mirror, "-o", tmp_path / "out", "--rotate-from", "x", cwd=tmp_path, expect=2)


def test_a_key_is_pinned_when_told_and_replaced_when_the_old_one_says_so(mirror: Path, tmp_path: Path) -> None:
    old, new = make_key(tmp_path, name="old"), make_key(tmp_path, name="new")
    first, second, venv = tmp_path / "first", tmp_path / "second", tmp_path / "environment"
    bundle(mirror, first, "--sign", old)
    bundle(mirror, second, "--sign", new, "--rotate-from", old)
    pins = venv / "share" / "pytorch-offline" / "allowed_signers"
    install(first, "--pin", dry=False)
    assert public_line(old) in pins.read_text(encoding="ascii")
    install(second, dry=False)
    assert public_line(old) not in pins.read_text(encoding="ascii")
    assert public_line(new) in pins.read_text(encoding="ascii")
    assert code_of(install(first, expect=4, dry=False)) == "unknown-signer"


def test_pinning_at_an_import_says_so_and_counts_from_then_on(mirror: Path, tmp_path: Path) -> None:
    bundle(mirror, tmp_path / "1", "--sign", make_key(tmp_path, name="one"))
    bundle(mirror, tmp_path / "2", "--sign", make_key(tmp_path, name="two"))
    pinning = run_tool("import", "1", "--mirror", "lan", "--pin", cwd=tmp_path).stderr
    assert "from now on only bundles of these signers are taken here: lan/.state/allowed_signers" in pinning
    assert "--pin" not in pinning
    assert "pinned in lan" in run_tool("import", "1", "--mirror", "lan", cwd=tmp_path).stderr
    refused = run_json("import", "2", "--mirror", "lan", cwd=tmp_path, expect=4)
    assert isinstance(refused, dict)
    assert refused["error"]["code"] == "unknown-signer"
