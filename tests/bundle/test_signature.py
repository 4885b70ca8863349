"""Who made a bundle: unsigned, signed by somebody, by somebody pinned, by a key that took a pinned one's place."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytorch_offline.bundle.reading.pins import (
    PinPlaces,
    pin_places,
    pins_after,
    pins_of_mirror,
    pins_of_prefix,
    read_pins,
    write_pins,
)
from pytorch_offline.bundle.reading.rotation import parse_rotations, render_statement
from pytorch_offline.bundle.reading.signature import Pins, SignatureStatus, check_signature, describe_signature
from pytorch_offline.bundle.reading.ssh_signature import ssh_fingerprint
from pytorch_offline.errors import IntegrityError, UsageError
from tests.bundle.keys import KINDS, make_key, needs_ssh_keygen, public_blob, public_line, sign

pytestmark = needs_ssh_keygen
MANIFEST = b'{"format": 1, "kind": "bundle"}\n'
ROADS = {"ssh-keygen": None, "built-in": "none"}


@pytest.fixture(params=list(ROADS))
def road(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def check(road: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SignatureStatus]:
    monkeypatch.delenv("PYTORCH_OFFLINE_SSH_KEYGEN", raising=False)

    def run(signature: bytes | None, pins: str | None = None, **more: object) -> SignatureStatus:
        given = None if pins is None else Pins("/pins", pins)
        return check_signature(MANIFEST, signature, pins=given, program=ROADS[road], **more)  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_key_of_every_kind_is_told_by_both_roads(
    check: Callable[..., SignatureStatus], road: str, tmp_path: Path, kind: str
) -> None:
    key = make_key(tmp_path, kind)
    signature = sign(key, MANIFEST)
    status = check(signature, f'releases namespaces="pytorch-offline" {public_line(key)}\n')
    assert status.principal == "releases"
    assert status.road == road
    assert status.fingerprint == ssh_fingerprint(public_blob(key))
    assert "pinned in /pins" in describe_signature(status)[0]


def test_a_signature_is_told_and_believed_by_nobody_until_somebody_is_pinned(
    check: Callable[..., SignatureStatus], road: str, tmp_path: Path
) -> None:
    key = make_key(tmp_path)
    status = check(sign(key, MANIFEST))
    assert (status.signed, status.principal, status.road) == (True, None, road)
    assert ssh_fingerprint(public_blob(key)) in describe_signature(status)[0]
    assert "--pin" in describe_signature(status)[0]
    assert pins_after(status, pin=False) is None
    pinned = pins_after(status, pin=True)
    assert pinned is not None
    assert check(sign(key, MANIFEST), pinned).principal == "pytorch-offline"


def test_an_unsigned_bundle_is_taken_only_where_nobody_is_pinned(check: Callable[..., SignatureStatus]) -> None:
    assert check(None) == SignatureStatus(signed=False)
    assert pins_after(check(None), pin=True) is None
    for pins in ("", "# nobody\n"):
        with pytest.raises(IntegrityError, match="not signed") as refusal:
            check(None, pins)
        assert refusal.value.code == "unsigned"


def test_a_changed_manifest_fails_whoever_is_pinned(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    key = make_key(tmp_path)
    signature = sign(key, MANIFEST.replace(b"1", b"2"))
    for pins in (None, f"me {public_line(key)}\n", ""):
        with pytest.raises(IntegrityError) as refusal:
            check(signature, pins)
        assert refusal.value.code == "bad-signature"


def test_another_namespace_is_another_purpose(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    key = make_key(tmp_path)
    with pytest.raises(IntegrityError) as refusal:
        check(sign(key, MANIFEST, "git"), f"me {public_line(key)}\n")
    assert refusal.value.code == "bad-signature"
    with pytest.raises(IntegrityError) as refusal:
        check(sign(key, MANIFEST), f'me namespaces="git" {public_line(key)}\n')
    assert refusal.value.code == "unknown-signer"


def test_a_right_signature_by_a_stranger_is_refused(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    mine, other = make_key(tmp_path, name="mine"), make_key(tmp_path, name="other")
    with pytest.raises(IntegrityError) as refusal:
        check(sign(other, MANIFEST), f"me {public_line(mine)}\n")
    assert refusal.value.code == "unknown-signer"
    assert refusal.value.facts["signed by"] == ssh_fingerprint(public_blob(other))
    assert public_line(other) in str(refusal.value.hint)


def test_a_key_counts_between_its_days(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    key = make_key(tmp_path)
    signature, line = sign(key, MANIFEST), public_line(key)
    assert check(signature, f'me valid-after="20200101",valid-before="29991231235959Z" {line}\n').principal == "me"
    for options in (
        'valid-before="20200101"',
        'valid-after="29991231Z"',
        'valid-after="20200101",valid-before="20210101"',
    ):
        with pytest.raises(IntegrityError) as refusal:
            check(signature, f"me {options} {line}\n")
        assert refusal.value.code == "unknown-signer", options


def test_a_certificate_is_checked_where_ssh_keygen_is(
    check: Callable[..., SignatureStatus], road: str, tmp_path: Path
) -> None:
    authority, key = make_key(tmp_path, name="authority"), make_key(tmp_path, name="key")
    import subprocess

    public = str(key) + ".pub"
    subprocess.run(["ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-n", "me", public], check=True)
    signature = sign(tmp_path / "key-cert.pub", MANIFEST)
    pins = f"me cert-authority {public_line(authority)}\n"
    if road == "ssh-keygen":
        assert check(signature, pins).principal == "me"
        assert check(signature).road == "ssh-keygen"
        return
    with pytest.raises(IntegrityError) as refusal:
        check(signature, pins)
    assert refusal.value.code == "signature-unsupported"
    assert check(signature).road is None
    with pytest.raises(IntegrityError) as refusal:
        check(sign(authority, MANIFEST), pins)
    assert "cert-authority" in str(refusal.value.facts["why not"])


def test_a_line_that_cannot_be_honoured_is_never_passed_over(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    for line in (
        f"me no-such-option {public_line(key)}",
        "me ssh-ed25519 nonsense",
        "me",
        f'me valid-after="x" {public_line(key)}',
    ):
        with pytest.raises(UsageError) as refusal:
            check_signature(MANIFEST, sign(key, MANIFEST), pins=Pins("/pins", line + "\n"), program="none")
        assert refusal.value.code == "bad-allowed-signers"


def test_a_program_that_is_missing_or_too_old_leaves_it_to_us(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    old = tmp_path / "old-ssh-keygen"
    old.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n", encoding="ascii")
    old.chmod(0o755)
    for program in (str(old), str(tmp_path / "none-here")):
        for pins in (None, Pins("/pins", f"me {public_line(key)}\n")):
            assert check_signature(MANIFEST, sign(key, MANIFEST), pins=pins, program=program).road == "built-in"


def rotation(old: Path, new: Path, created: str) -> bytes:
    statement = render_statement(created, public_blob(old), public_blob(new))
    return statement + sign(old, statement, "pytorch-offline-keys")


def test_keys_change_hands_as_often_as_the_old_one_says(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    first, second, third = (make_key(tmp_path, name=name) for name in ("first", "second", "third"))
    chain = rotation(first, second, "2026-01-01T00:00:00Z") + rotation(second, third, "2026-02-01T00:00:00Z")
    pins = f"# mine\nfriend {public_line(make_key(tmp_path, name='friend'))}\nme {public_line(first)}\n"
    status = check(sign(third, MANIFEST), pins, rotations=chain)
    assert status.replaced == (ssh_fingerprint(public_blob(first)), ssh_fingerprint(public_blob(second)))
    renewed = pins_after(status, pin=False)
    assert renewed is not None
    assert renewed.startswith("# mine\nfriend ")
    assert public_line(first) not in renewed
    assert public_line(second) not in renewed
    later = check(sign(third, MANIFEST), renewed, rotations=chain)
    assert (later.principal, later.replaced, later.renewed_pins) == ("pytorch-offline", (), None)
    for left in (first, second):
        with pytest.raises(IntegrityError) as refusal:
            check(sign(left, MANIFEST), renewed, rotations=chain)
        assert refusal.value.code == "unknown-signer"


def test_a_statement_is_worth_its_signer_and_its_date(check: Callable[..., SignatureStatus], tmp_path: Path) -> None:
    mine, thief, next_one = (make_key(tmp_path, name=name) for name in ("mine", "thief", "next"))
    pins = f"me {public_line(mine)}\n"
    by_a_stranger = render_statement("2026-01-01T00:00:00Z", public_blob(mine), public_blob(thief))
    by_a_stranger += sign(thief, by_a_stranger, "pytorch-offline-keys")
    bare = render_statement("2026-01-01T00:00:00Z", public_blob(mine), public_blob(thief))
    for_bundles = bare + sign(mine, bare, "pytorch-offline")
    changed = bare.replace(b"2026", b"2027") + sign(mine, bare, "pytorch-offline-keys")
    for statement, code in (
        (by_a_stranger, "unknown-signer"),
        (for_bundles, "bad-signature"),
        (changed, "bad-signature"),
    ):
        with pytest.raises(IntegrityError) as refusal:
            check(sign(thief, MANIFEST), pins, rotations=statement)
        assert refusal.value.code == code
    # Back to a key that was left: the statement that left it, shown again, is old.
    leave, back = rotation(mine, next_one, "2026-01-01T00:00:00Z"), rotation(next_one, mine, "2026-02-01T00:00:00Z")
    renewed = check(sign(mine, MANIFEST), pins, rotations=leave + back).renewed_pins
    assert renewed is not None
    with pytest.raises(IntegrityError) as refusal:
        check(sign(next_one, MANIFEST), renewed, rotations=leave)
    assert refusal.value.code == "unknown-signer"


def test_a_key_that_may_sign_bundles_alone_cannot_name_its_heir(
    check: Callable[..., SignatureStatus], tmp_path: Path
) -> None:
    old, new = make_key(tmp_path, name="old"), make_key(tmp_path, name="new")
    with pytest.raises(IntegrityError) as refusal:
        check(
            sign(new, MANIFEST),
            f'me namespaces="pytorch-offline" {public_line(old)}\n',
            rotations=rotation(old, new, "2026-01-01T00:00:00Z"),
        )
    assert refusal.value.code == "unknown-signer"


def test_what_is_no_statement_is_refused(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    statement = render_statement("2026-01-01T00:00:00Z", public_blob(key), public_blob(key))
    signature = sign(key, statement, "pytorch-offline-keys")
    assert parse_rotations(b"") == ()
    assert len(parse_rotations((statement + signature) * 2)) == 2
    wide = statement.replace(b'"pytorch-offline,pytorch-offline-keys"', b'"*"')
    for data in (
        statement,
        statement + signature + b"x",
        b"x" + statement + signature,
        wide + signature,
        statement.replace(b"created 2026", b"created \xff\xff") + signature,
        b"x" * 300_000,
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
    ):
        with pytest.raises(IntegrityError) as refusal:
            parse_rotations(data)
        assert refusal.value.code in ("bad-rotation", "bad-signature")


def test_pins_are_looked_for_from_the_nearest_place_to_the_farthest(tmp_path: Path) -> None:
    prefix, mirror, home = tmp_path / "env", tmp_path / "mirror", tmp_path / "home"
    places, environ = PinPlaces(prefix=prefix, mirror=mirror), {"HOME": str(home)}
    assert [str(path) for path in pin_places(places, environ)] == [
        f"{prefix}/share/pytorch-offline/allowed_signers",
        f"{mirror}/.state/allowed_signers",
        f"{home}/.config/pytorch-offline/allowed_signers",
        "/etc/pytorch-offline/allowed_signers",
    ]
    user = home / ".config" / "pytorch-offline" / "allowed_signers"
    for path in (user, pins_of_mirror(mirror), pins_of_prefix(prefix)):
        write_pins(path, f"# {path}\n")
        found = read_pins(places, environ)
        assert found == Pins(str(path), f"# {path}\n")
    named = {"PYTORCH_OFFLINE_ALLOWED_SIGNERS": str(user), **environ}
    assert read_pins(places, named) == Pins(str(user), f"# {user}\n")
    given = places._replace(given=pins_of_mirror(mirror))
    assert (found := read_pins(given, named)) is not None
    assert found.path == str(pins_of_mirror(mirror))


def test_a_file_of_pins_that_cannot_be_read_is_no_reason_to_trust(tmp_path: Path) -> None:
    import os

    path = pins_of_prefix(tmp_path)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    started = time.monotonic()
    for places in (PinPlaces(prefix=tmp_path), PinPlaces(given=tmp_path / "absent"), PinPlaces(given=tmp_path)):
        with pytest.raises(UsageError) as refusal:
            read_pins(places, {})
        assert refusal.value.code == "bad-allowed-signers"
    assert time.monotonic() - started < 30
    path.unlink()
    for data in (b"\xff\xfe", b"#" * (1024 * 1024 + 1)):
        path.write_bytes(data)
        with pytest.raises(UsageError):
            read_pins(PinPlaces(prefix=tmp_path), {})
