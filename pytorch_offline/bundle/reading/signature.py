"""Whose bundle this is: the manifest's signature, judged by those whom the far side trusts.

``ssh-keygen`` judges where it can (``ssh_keygen.py``), otherwise we do (``ssh_signature.py``); the rules are the same.
"""

import os
import time
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.manifest import SIGNATURE_NAME
from pytorch_offline.bundle.reading.allowed_signers import (
    KEYS_NAMESPACE,
    MANIFEST_NAMESPACE,
    KeyVerdict,
    judge_key,
    parse_allowed_signers,
    render_signer,
)
from pytorch_offline.bundle.reading.rotation import Rotation, apply_rotation, is_news, parse_rotations
from pytorch_offline.bundle.reading.ssh_keygen import judge_by_ssh_keygen, ssh_keygen_program
from pytorch_offline.bundle.reading.ssh_signature import (
    SshSignature,
    insist_on_strength,
    is_verifiable_here,
    parse_ssh_signature,
    ssh_fingerprint,
    verify_ssh_signature,
)
from pytorch_offline.errors import IntegrityError

_BY_KEYGEN = "ssh-keygen"
_BY_OURSELVES = "built-in"


class Pins(NamedTuple):
    """Whom the far side trusts.

    Args:
        path: the file that says it.
        text: that file.
    """

    path: str
    text: str


class SignatureStatus(NamedTuple):
    """What is known of who made a bundle.

    Args:
        signed: whether there is a signature; it is then right, unless ``road`` is None.
        fingerprint: of the key that signed.
        principal: whose key it is by the pins; None where nobody is pinned.
        road: who checked: ``ssh-keygen`` or ``built-in``; None where nobody is pinned and nobody here can check it.
        pinned_in: the file that says whom one trusts; None where there is none.
        signer_line: the line that would pin the key that signed.
        replaced: fingerprints of pinned keys that gave their place to others, in order.
        renewed_pins: the file of pins as it reads after that; None where nothing changed.
    """

    signed: bool
    fingerprint: Optional[str] = None
    principal: Optional[str] = None
    road: Optional[str] = None
    pinned_in: Optional[str] = None
    signer_line: Optional[str] = None
    replaced: Tuple[str, ...] = ()
    renewed_pins: Optional[str] = None


def check_signature(
    manifest: bytes,
    signature: Optional[bytes],
    *,
    pins: Optional[Pins],
    rotations: Optional[bytes] = None,
    now: Optional[int] = None,
    program: Optional[str] = None,
) -> SignatureStatus:
    """Judge a manifest by its signature and by whom one trusts.

    Args:
        manifest: the bytes of ``manifest.json``.
        signature: those of ``manifest.json.sig``; None where there is none.
        pins: whom one trusts; None for nobody: then a signature is checked, and told.
        rotations: the bytes of ``manifest.json.keys``; None where there is none.
        now: seconds since 1970, for keys with a validity; None for this machine's clock.
        program: which ssh-keygen is asked; None for the one that ``PYTORCH_OFFLINE_SSH_KEYGEN`` names, or that of
            ``PATH``; ``none`` for no program.

    Raises:
        IntegrityError: ``unsigned`` where somebody is pinned and there is no signature; ``unknown-signer`` where it is
            by nobody who is pinned; ``bad-signature`` where it is not this manifest's; ``signature-unsupported`` where
            nobody here can check it; ``bad-rotation``.
        UsageError: ``bad-allowed-signers``.
    """
    if signature is None:
        if pins is not None:
            raise _unsigned(pins)
        return SignatureStatus(signed=False)
    parsed = parse_ssh_signature(signature)
    insist_on_strength(parsed)
    judge = _Judge(
        ssh_keygen_program(os.environ) if program is None else program, int(time.time() if now is None else now)
    )
    fingerprint, line = ssh_fingerprint(parsed.key), render_signer(parsed.key)
    if pins is None:
        if not is_verifiable_here(parsed.key_type) and not judge.has_keygen(parsed, manifest):
            return SignatureStatus(signed=True, fingerprint=fingerprint, signer_line=line)
        judge.ask(parsed, manifest, MANIFEST_NAMESPACE, None)
        return SignatureStatus(signed=True, fingerprint=fingerprint, road=judge.road, signer_line=line)
    text, replaced = judge.renew(pins.text, parse_rotations(rotations) if rotations is not None else ())
    verdict = judge.ask(parsed, manifest, MANIFEST_NAMESPACE, text)
    if verdict.principal is None:
        raise _unknown_signer(fingerprint, line, pins, verdict.reason, replaced)
    return SignatureStatus(
        signed=True,
        fingerprint=fingerprint,
        principal=verdict.principal,
        road=judge.road,
        pinned_in=pins.path,
        signer_line=line,
        replaced=replaced,
        renewed_pins=text if replaced else None,
    )


def describe_signature(status: SignatureStatus, *, pinning: bool = False) -> Tuple[str, ...]:
    """Tell in sentences who made a bundle.

    Args:
        status: what was found out.
        pinning: the user has said ``--pin`` already.
    """
    if not status.signed:
        return ("The bundle is not signed: its hashes prove that it arrived whole, not who made it.",)
    if status.pinned_in is None:
        checked = "" if status.road is not None else " Nothing on this machine can check a signature by such a key."
        said = f"The bundle is signed by {status.fingerprint}, and nobody is pinned here: anybody could have signed it."
        advice = "" if pinning else " If the fingerprint is the one that you were told, pin it with --pin."
        return (said + checked + advice,)
    sentences = [f"The bundle is signed by {status.principal} ({status.fingerprint}), pinned in {status.pinned_in}."]
    if status.replaced:
        sentences.append(f"The pinned key {', then '.join(status.replaced)} was replaced, as its own signature says.")
    return tuple(sentences)


def signature_document(status: SignatureStatus) -> Dict[str, Any]:
    """Make the JSON document of who made a bundle."""
    return {
        "signed": status.signed,
        "key": status.fingerprint,
        "signer": status.principal,
        "checked_by": status.road,
        "pinned_in": status.pinned_in,
        "replaced": list(status.replaced),
    }


class _Judge:
    """One road to a verdict, kept once it was found: ssh-keygen, or ourselves where it cannot say."""

    def __init__(self, program: Optional[str], now: int) -> None:
        self.road = _BY_OURSELVES if program in (None, "none") else _BY_KEYGEN
        self._program = program or ""
        self._now = now

    def has_keygen(self, signature: SshSignature, message: bytes) -> bool:
        """Whether ssh-keygen has a verdict on this one."""
        return self.road == _BY_KEYGEN and (
            judge_by_ssh_keygen(self._program, signature, message, signature.namespace, None) is not None
        )

    def ask(self, signature: SshSignature, message: bytes, namespace: str, signers: Optional[str]) -> KeyVerdict:
        """Judge one signature; raise ``bad-signature`` where it is wrong, whoever signed."""
        if signature.namespace != namespace:
            raise _bad_signature(signature, f"it was made for the namespace {signature.namespace}, and not {namespace}")
        if self.road == _BY_KEYGEN:
            lent = None if signers is None else signers.encode("utf-8")
            verdict = judge_by_ssh_keygen(self._program, signature, message, namespace, lent)
            if verdict is not None:
                if verdict.reason.startswith("incorrect"):
                    raise _bad_signature(signature, f"ssh-keygen says {verdict.reason!r}")
                return verdict
            self.road = _BY_OURSELVES
        if not verify_ssh_signature(signature, message, namespace):
            raise _bad_signature(signature, "it does not belong to these bytes")
        if signers is None:
            return KeyVerdict(None)
        return judge_key(parse_allowed_signers(signers), signature.key, namespace, self._now)

    def renew(self, text: str, rotations: Sequence[Rotation]) -> Tuple[str, Tuple[str, ...]]:
        """Apply the changes of keys that trusted keys signed, oldest first; what nobody trusted signed says nothing."""
        replaced = []
        for rotation in rotations:
            if not is_news(text, rotation):
                continue
            signer = rotation.signature
            known = any(line.key == signer.key for line in parse_allowed_signers(text))
            if known and self.ask(signer, rotation.statement, KEYS_NAMESPACE, text).principal is not None:
                text = apply_rotation(text, rotation)
                replaced.append(rotation.replaces)
        return text, tuple(replaced)


def _bad_signature(signature: SshSignature, reason: str) -> IntegrityError:
    return IntegrityError(
        "bad-signature",
        f"The manifest and its signature do not belong together: {reason}.",
        facts={"key": ssh_fingerprint(signature.key)},
        hint="Bring manifest.json and manifest.json.sig again; if they are as they were made, the bundle was changed.",
    )


def _unsigned(pins: Pins) -> IntegrityError:
    return IntegrityError(
        "unsigned",
        "What is to be installed is not signed, and this machine takes only bundles of pinned signers.",
        facts={"pinned in": pins.path},
        hint=f"Bring {SIGNATURE_NAME} along, or write the bundle with --sign; --allow-unsigned takes it all the same.",
    )


def _unknown_signer(fingerprint: str, line: str, pins: Pins, reason: str, replaced: Tuple[str, ...]) -> IntegrityError:
    facts = {"signed by": fingerprint, "pinned in": pins.path, "why not": reason}
    if replaced:
        facts["replaced before"] = ", ".join(replaced)
    return IntegrityError(
        "unknown-signer",
        "The bundle's signature is right, and by nobody whom this machine trusts.",
        facts=facts,
        hint=f"If you know this key, add a line to {pins.path}: {line}",
    )
