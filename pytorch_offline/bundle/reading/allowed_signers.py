"""The file of whom one trusts: ssh-keygen's ``allowed_signers`` (ssh-keygen(1), "ALLOWED SIGNERS").

A line is ``PRINCIPALS [OPTIONS] KEYTYPE BASE64 [COMMENT]``. Principals and the option ``namespaces`` are lists of
patterns with ``*``, ``?`` and ``!``; ``valid-after`` and ``valid-before`` are moments; ``cert-authority`` makes the key
one that certifies others, which only ssh-keygen can check.
"""

import base64
import binascii
import calendar
import re
import time
from typing import List, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.reading.ssh_signature import ssh_key_type
from pytorch_offline.errors import IntegrityError, UsageError

MAX_ALLOWED_SIGNERS = 1024 * 1024  # bytes; four thousand RSA keys
# What a bundle's manifest is signed for, and what a change of keys is.
MANIFEST_NAMESPACE = "pytorch-offline"
KEYS_NAMESPACE = "pytorch-offline-keys"
_SIGNER_MOMENTS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_SIGNER_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')


class AllowedSigner(NamedTuple):
    """One line of the file.

    Args:
        number: of the line, from 1.
        text: the line.
        principals: the patterns of who may use it.
        key: the public key, as SSH writes keys; empty where the line cannot be read.
        certifies: whether it is a ``cert-authority``.
        namespaces: the patterns of what it may sign; None for anything.
        valid_after: from when on, in seconds since 1970; None for ever.
        valid_before: until when.
        problem: why the line cannot be honoured here; None where it can.
    """

    number: int
    text: str
    principals: str
    key: bytes = b""
    certifies: bool = False
    namespaces: Optional[str] = None
    valid_after: Optional[int] = None
    valid_before: Optional[int] = None
    problem: Optional[str] = None


class KeyVerdict(NamedTuple):
    """Whether a key may sign, and in whose name; otherwise why not."""

    principal: Optional[str]
    reason: str = ""


def parse_allowed_signers(text: str) -> Tuple[AllowedSigner, ...]:
    """Read every line; one that cannot be honoured carries its problem."""
    signers = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            signers.append(_parse_signer(number, stripped))
    return tuple(signers)


def judge_key(signers: Tuple[AllowedSigner, ...], key: bytes, namespace: str, now: int) -> KeyVerdict:
    """Say who may sign with this key, for this namespace, at this moment (seconds since 1970).

    Raises:
        UsageError: ``bad-allowed-signers`` if a line cannot be read: what it would have said is not guessed.
    """
    reasons = []
    for signer in signers:
        if signer.problem is not None:
            raise UsageError(
                "bad-allowed-signers",
                f"Line {signer.number} of the allowed signers cannot be honoured: {signer.problem}.",
                facts={"line": signer.text[:200]},
                hint="Correct the line, or take it out.",
            )
        if signer.certifies:
            reasons.append(f"line {signer.number} is a cert-authority, which only ssh-keygen 8.2 or newer can check")
        elif signer.key == key:
            reason = _why_not_now(signer, namespace, now)
            if reason is None:
                return KeyVerdict(_first_name(signer.principals))
            reasons.append(reason)
    return KeyVerdict(None, "; ".join(reasons) or "no line has this key")


def matches_patterns(name: str, patterns: str) -> bool:
    """Match a name with a list of patterns (ssh_config(5), "PATTERNS"): some must match, and none with ``!`` may."""
    found = False
    for pattern in patterns.split(","):
        plain = pattern[1:] if pattern.startswith("!") else pattern
        expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in plain)
        if re.fullmatch(expression, name, re.DOTALL):
            if plain is not pattern:
                return False
            found = True
    return found


def render_signer(key: bytes, comment: str = "") -> str:
    """Write the line that trusts a key for bundles and for its own replacement."""
    text = base64.b64encode(key).decode("ascii")
    namespaces = f"{MANIFEST_NAMESPACE},{KEYS_NAMESPACE}"
    return f'pytorch-offline namespaces="{namespaces}" {ssh_key_type(key)} {text} {comment}'.rstrip()


def parse_public_key(text: str) -> Optional[bytes]:
    """Read ``KEYTYPE BASE64 [COMMENT]``, as in a ``.pub`` file; None where it is no such line."""
    fields = text.split(None, 2)
    if len(fields) < 2:  # noqa: PLR2004  (type and key)
        return None
    try:
        key = base64.b64decode(fields[1], validate=True)
        return key if ssh_key_type(key) == fields[0] else None
    except (binascii.Error, ValueError, IntegrityError):
        return None


def _parse_signer(number: int, line: str) -> AllowedSigner:
    if line.startswith('"'):
        principals, _, rest = line[1:].partition('"')
    else:
        principals, _, rest = _partition_blank(line)
    signer = AllowedSigner(number, line, principals)
    key = parse_public_key(rest)
    if key is not None:
        return signer._replace(key=key)
    options, rest = _split_signer_options(rest.strip())
    key = parse_public_key(rest)
    if key is None:
        return signer._replace(problem="it has no public key")
    return _with_options(signer._replace(key=key), options)


def _partition_blank(line: str) -> Tuple[str, str, str]:
    fields = line.split(None, 1)
    return fields[0], " ", fields[1] if len(fields) > 1 else ""


def _split_signer_options(text: str) -> Tuple[List[str], str]:
    """Split ``OPTIONS REST`` at the first blank outside of quotes, and the options at commas outside of quotes."""
    options, start, quoted = [], 0, False
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in " \t,":
            options.append(text[start:at])
            start = at + 1
            if letter != ",":
                return options, text[start:]
    return options, ""


def _with_options(signer: AllowedSigner, options: List[str]) -> AllowedSigner:
    for option in options:
        match = _SIGNER_OPTION.fullmatch(option)
        name, value = (match.group(1).lower(), match.group(2)) if match else (option, None)
        if name == "cert-authority" and value is None:
            signer = signer._replace(certifies=True)
        elif name == "namespaces" and value:
            signer = signer._replace(namespaces=value)
        elif name in ("valid-after", "valid-before") and value:
            moment = _parse_signer_moment(value)
            if moment is None:
                return signer._replace(problem=f"{name} is no date of the form YYYYMMDD[HHMM[SS]][Z]")
            after = name == "valid-after"
            signer = signer._replace(valid_after=moment) if after else signer._replace(valid_before=moment)
        else:
            return signer._replace(problem=f"the option {option[:40]!r} is unknown")
    return signer


def _parse_signer_moment(text: str) -> Optional[int]:
    """Read a moment: in UTC with a ``Z``, else in local time, as ssh-keygen reads it."""
    digits, utc = (text[:-1], True) if text[-1:] in ("Z", "z") else (text, False)
    form = _SIGNER_MOMENTS.get(len(digits))
    if form is None or not digits.isdigit():
        return None
    try:
        fields = time.strptime(digits, form)
        return int(calendar.timegm(fields) if utc else time.mktime(fields))
    except (ValueError, OverflowError):
        return None


def _why_not_now(signer: AllowedSigner, namespace: str, now: int) -> Optional[str]:
    if signer.namespaces is not None and not matches_patterns(namespace, signer.namespaces):
        return f"line {signer.number} has the key for the namespaces {signer.namespaces}, and not for {namespace}"
    if signer.valid_after is not None and now < signer.valid_after:
        return f"line {signer.number} has the key from a later day on than this machine's clock says"
    if signer.valid_before is not None and now > signer.valid_before:
        return f"line {signer.number} has the key until an earlier day than this machine's clock says"
    return None


def _first_name(principals: str) -> str:
    return next((name for name in principals.split(",") if not name.startswith("!")), principals)
