"""Signing a bundle's manifest by ``ssh-keygen -Y sign``, with keys that people have: files, agents, FIDO tokens.

Passphrases, PINs and touches are between ssh-keygen and the user: it asks on the terminal, or an agent does. What it
made is verified before it is kept, by the same code as on the far side (docs/adr/0023).
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

from pytorch_offline.bundle.reading.allowed_signers import KEYS_NAMESPACE, MANIFEST_NAMESPACE, parse_public_key
from pytorch_offline.bundle.reading.signature import check_signature
from pytorch_offline.bundle.reading.ssh_keygen import SSH_KEYGEN_VARIABLE, ssh_keygen_program
from pytorch_offline.bundle.reading.ssh_signature import parse_ssh_signature
from pytorch_offline.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

# The largest key files are RSA's of 16384 bits, in 13 KB.
_MAX_KEY_FILE = 64 * 1024
# What ssh-keygen says of a cause, and what helps. The first that fits counts.
_CAUSES = (
    ("too open", "Its file may be read by others, which ssh-keygen refuses: chmod 600 it."),
    ("bad permissions", "Its file may be read by others, which ssh-keygen refuses: chmod 600 it."),
    ("Permission denied", "Its file cannot be read by this user."),
    (
        "incorrect passphrase",
        "The passphrase was wrong, or there is no terminal to ask for it: ssh-add the key before.",
    ),
    ("agent refused", "The agent refused: it wants a confirmation, or the token a touch."),
    (
        "no private key found for public key",
        "Neither the file beside it nor an agent has the private half: ssh-add it.",
    ),
    ("device not found", "The FIDO token is not plugged in."),
    ("No such file", "There is no such file."),
    ("invalid format", "It is no key that this ssh-keygen reads."),
    ("unsupported", "This ssh-keygen does not know keys of this kind."),
)
_TOO_OLD = ("unknown option", "illegal option", "Unsupported operation")


def sign_manifest(
    manifest: bytes, key: Path, *, there: bytes | None = None, told: Callable[[str], None] | None = None
) -> bytes:
    """Sign the bytes of ``manifest.json``; gives those of ``manifest.json.sig``.

    ``there`` is a signature that lies there already: it is kept if it is right and by this key, so that a bundle that
    is written again stays as it is, and a token is not asked twice. ``told`` gets what ssh-keygen says meanwhile.

    Raises:
        UsageError: ``no-ssh-keygen``, ``bad-signing-key``.
    """
    return _sign(manifest, key, MANIFEST_NAMESPACE, there=there, told=told)


def sign_statement(statement: bytes, key: Path, *, told: Callable[[str], None] | None = None) -> bytes:
    """Sign a change of keys (``reading/rotation.py``) with the old key.

    Raises:
        UsageError: ``no-ssh-keygen``, ``bad-signing-key``.
    """
    return _sign(statement, key, KEYS_NAMESPACE, there=None, told=told)


def read_public_key(key: Path) -> bytes:
    """Read the public half of a key: of a public key's file, of the one beside a private key, or as ssh-keygen says it.

    Raises:
        UsageError: ``no-ssh-keygen``, ``bad-signing-key``.
    """
    public = _public_key_beside(key)
    if public is not None:
        return public
    said = _run(["-y", "-f", str(key.absolute())], b"", key, None)
    public = parse_public_key(said.decode("utf-8", "replace"))
    if public is None:
        raise _bad_key(key, "it has no public half")
    return public


def _sign(data: bytes, key: Path, namespace: str, *, there: bytes | None, told: Callable[[str], None] | None) -> bytes:
    if there is not None and namespace == MANIFEST_NAMESPACE and _is_by(there, data, _public_key_beside(key)):
        return there
    signature = _run(["-Y", "sign", "-n", namespace, "-f", str(key.absolute())], data, key, told)
    try:
        if namespace == MANIFEST_NAMESPACE:
            check_signature(data, signature, pins=None)
        else:
            parse_ssh_signature(signature)
    except IntegrityError as error:
        raise _bad_key(key, error.message) from error
    return signature


def _is_by(signature: bytes, data: bytes, key: bytes | None) -> bool:
    try:
        return (
            parse_ssh_signature(signature).key == key and check_signature(data, signature, pins=None).road is not None
        )
    except IntegrityError:
        return False


def _public_key_beside(key: Path) -> bytes | None:
    for path in (key, key.with_name(key.name + ".pub")):
        try:
            with path.open("rb") as file:
                public = parse_public_key(file.read(_MAX_KEY_FILE).decode("utf-8", "replace"))
        except OSError:
            continue
        if public is not None:
            return public
    return None


def _run(arguments: list[str], data: bytes, key: Path, told: Callable[[str], None] | None) -> bytes:
    """Run ssh-keygen with data on its standard input; what it says is passed on at once, and kept for an error."""
    program = ssh_keygen_program(os.environ)
    try:
        if program is None:
            raise FileNotFoundError
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise UsageError(
            "no-ssh-keygen",
            "Signing is done by ssh-keygen, which does not run here.",
            facts={"program": program or f"none, by {SSH_KEYGEN_VARIABLE}"},
            hint=f"Install OpenSSH 8.2 or newer, or name its ssh-keygen by {SSH_KEYGEN_VARIABLE}.",
        ) from error
    with process:
        said: list[str] = []
        listener = threading.Thread(target=_listen, args=(process.stderr, said, told), daemon=True)
        listener.start()
        try:
            out = _exchange(process, data)
        except BaseException:
            process.kill()
            raise
        listener.join()
    if process.returncode == 0 and out:
        return out
    raise _failure(key, " ".join(said))


def _exchange(process: subprocess.Popen[bytes], data: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101  (both are pipes)
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(data)
        process.stdin.close()
    except BrokenPipeError:  # it has seen enough; it says why
        pass
    return process.stdout.read(_MAX_KEY_FILE)


def _listen(stream: IO[bytes] | None, said: list[str], told: Callable[[str], None] | None) -> None:
    for line in stream or ():
        text = line.decode("utf-8", "replace").strip()
        if text and text != "Signing data on standard input":
            said.append(text)
            if told is not None and len(said) < 10:  # noqa: PLR2004  (its usage is longer, and no news)
                told(f"ssh-keygen: {text}")


def _failure(key: Path, said: str) -> UsageError:
    if any(words in said for words in _TOO_OLD):
        return UsageError(
            "no-ssh-keygen",
            "This ssh-keygen is too old to sign files.",
            hint=f"Install OpenSSH 8.2 or newer, or name its ssh-keygen by {SSH_KEYGEN_VARIABLE}.",
        )
    return _bad_key(key, said or "ssh-keygen gives no reason")


def _bad_key(key: Path, said: str) -> UsageError:
    hint = next((help_ for words, help_ in _CAUSES if words in said), None)
    return UsageError(
        "bad-signing-key",
        "Nothing can be signed with this key.",
        facts={"key": str(key), "ssh-keygen": said[:500]},
        hint=hint or "Try it: echo test | ssh-keygen -Y sign -n test -f KEY",
    )
