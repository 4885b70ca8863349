"""Who may read a mirror: the rules of an htpasswd file, as Apache's and nginx's administrators keep one.

The forms are those that ``htpasswd``, ``openssl passwd`` and ``mkpasswd`` write (Apache 2.4, "Password Formats";
nginx, ``auth_basic_user_file``): bcrypt, Apache's MD5, SHA-1 with and without salt, and those of crypt(3) that this
system knows. A password that stands in the file itself, and DES, which looks at eight characters, are refused.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import ctypes.util
import hashlib
import hmac
import re
import sys
from functools import cache
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
_APACHE_MD5 = re.compile(r"\$apr1\$(?P<salt>[^$:]{1,8})\$[./A-Za-z0-9]{22}")
_SHA_CRYPT = re.compile(
    r"\$(?:5\$(?:rounds=(?P<rounds5>\d+)\$)?[^$:]{1,16}\$[./A-Za-z0-9]{43}"
    r"|6\$(?:rounds=(?P<rounds6>\d+)\$)?[^$:]{1,16}\$[./A-Za-z0-9]{86})"
)
_YESCRYPT = re.compile(r"\$g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}")
_SHA1 = re.compile(r"\{SHA\}(?P<digest>[A-Za-z0-9+/]{27}=)")
_SALTED_SHA1 = re.compile(r"\{SSHA\}(?P<digest>[A-Za-z0-9+/]{28,200}={0,2})")
_CRYPTIC = (_BCRYPT, _SHA_CRYPT, _YESCRYPT)
# What costs more than some seconds lets one wrong password hold a core: bcrypt doubles with each step from about
# 50 ms at 10, sha-crypt takes about a second for two million rounds.
_MOST_COST = 15
_MOST_ROUNDS = 5_000_000

_SHA1_BYTES = 20
_APACHE_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_APACHE_ROUNDS = 1000
_APACHE_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))  # which bytes make four characters

# A `struct crypt_data` is 128 KiB in glibc, 32 KiB in libxcrypt and less in musl; it must be zero at first.
_CRYPT_DATA_BYTES = 256 * 1024
# libxcrypt keeps the name .so.1 where old programs must run, and .so.2 elsewhere; musl has crypt_r in libc itself.
_CRYPT_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)

HINT = "write it with: htpasswd -B FILE USER"


def parse_htpasswd(text: str, named: str) -> Mapping[str, str]:
    """Read users and what is stored of their passwords; of one user's lines the first counts, as it does for Apache.

    Args:
        text: lines ``user:stored``, with anything after another colon ignored; ``#`` begins a comment line.
        named: how the file is called in errors.

    Raises:
        UsageError: ``bad-htpasswd`` names the line that cannot be used, and never shows what is stored.
    """
    book: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, rest = line.partition(":")
        stored = rest.partition(":")[0].strip()
        reason = "there is no colon" if not colon else "it names no user" if not user else refusal(stored)
        if reason is not None:
            raise UsageError(
                "bad-htpasswd",
                f"line {number} of {named} cannot be used: {reason}",
                facts={"file": named, "line": number} | ({"user": user} if colon and user else {}),
                hint=HINT,
            )
        book.setdefault(user, stored)
    if not book:
        raise UsageError("bad-htpasswd", f"{named} names no user, so nobody could read this mirror", hint=HINT)
    return book


def refusal(stored: str) -> str | None:
    """Say why a stored password cannot be compared here; None if it can."""
    if not stored:
        return "there is no password"
    if _SHA1.fullmatch(stored) or _APACHE_MD5.fullmatch(stored):
        return None
    if _SALTED_SHA1.fullmatch(stored):
        return None if len(_decoded(stored.removeprefix("{SSHA}"))) > _SHA1_BYTES else "its salt is missing"
    if not any(form.fullmatch(stored) for form in _CRYPTIC):
        return "its password is no digest of a known form (a password in plain text and DES are not taken)"
    bcrypt, sha = _BCRYPT.fullmatch(stored), _SHA_CRYPT.fullmatch(stored)
    if bcrypt and int(bcrypt["cost"]) > _MOST_COST:
        return f"bcrypt with cost {bcrypt['cost']} takes longer than a request may wait"
    if sha and int(sha["rounds5"] or sha["rounds6"] or 0) > _MOST_ROUNDS:
        return "so many rounds take longer than a request may wait"
    if not _computable(stored.split("$")[1]):
        return "this system cannot compute its form" + (
            "; the package bcrypt can: pip install 'pytorch-offline[auth]'" if bcrypt else ""
        )
    return None


def agrees(password: str, stored: str) -> bool:
    """Say whether a password is the one that was stored; takes as long as the form wants, and the same for no and yes.

    Args:
        password: as the client sent it.
        stored: a form that ``refusal`` has nothing against.
    """
    secret = password.encode()
    if "\0" in password:  # the C functions would read up to it
        return False
    if _SHA1.fullmatch(stored):
        return hmac.compare_digest(_sha1(secret), _decoded(stored.removeprefix("{SHA}")))
    if _SALTED_SHA1.fullmatch(stored):
        kept = _decoded(stored.removeprefix("{SSHA}"))
        return hmac.compare_digest(_sha1(secret + kept[_SHA1_BYTES:]), kept[:_SHA1_BYTES])
    apache = _APACHE_MD5.fullmatch(stored)
    made = _apache_md5(secret, apache["salt"].encode()) if apache else _crypt(secret, stored)
    return made is not None and hmac.compare_digest(made.encode(), stored.encode())


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _apache_md5(password: bytes, salt: bytes) -> str:
    """Compute Apache's MD5 form: FreeBSD's MD5-crypt (Kamp, 1995) with ``$apr1$`` for ``$1$``."""
    inner = _md5(password + salt + password)
    mixed = password + b"$apr1$" + salt
    mixed += (inner * (len(password) // len(inner) + 1))[: len(password)]
    length = len(password)
    while length:
        mixed += b"\0" if length & 1 else password[:1]
        length >>= 1
    state = _md5(mixed)
    for round_ in range(_APACHE_ROUNDS):
        parts = (
            password if round_ & 1 else state,
            salt if round_ % 3 else b"",
            password if round_ % 7 else b"",
            state if round_ & 1 else password,
        )
        state = _md5(b"".join(parts))
    text = "".join(_apache_characters(state[a] << 16 | state[b] << 8 | state[c], 4) for a, b, c in _APACHE_ORDER)
    return f"$apr1${salt.decode()}${text}{_apache_characters(state[11], 2)}"


def _apache_characters(value: int, count: int) -> str:
    return "".join(_APACHE_ALPHABET[value >> 6 * place & 63] for place in range(count))


def _crypt(password: bytes, setting: str) -> str | None:
    """Ask crypt(3), as Apache and nginx do; where it does not know bcrypt (macOS, Windows), the package bcrypt."""
    ask = _system_crypt()
    made = ask(password, setting) if ask is not None else None
    if made is None and setting.startswith("$2"):
        try:
            import bcrypt  # noqa: PLC0415  (an extra)
        except ImportError:
            return None
        made = bcrypt.hashpw(password[:72], setting.encode()).decode()  # bcrypt reads no more than 72 bytes
    return made


@cache
def _system_crypt() -> Callable[[bytes, str], str | None] | None:
    """Give this system's crypt(3), which Python itself has had no module for since 3.13; callable in any thread."""
    if sys.platform in {"win32", "darwin"}:
        return None  # the one has none, the other's knows DES alone
    for name in _CRYPT_LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        function.restype = ctypes.c_char_p

        def ask(password: bytes, setting: str, crypt_r: Callable[..., bytes | None] = function) -> str | None:
            room = ctypes.create_string_buffer(_CRYPT_DATA_BYTES)
            made = crypt_r(password, setting.encode(), room)
            # What it cannot compute it answers with nothing, or with a text that no setting begins with.
            return made.decode() if made is not None and not made.startswith(b"*") else None

        return ask
    return None


@cache
def _computable(kind: str) -> bool:
    cheap = {
        "5": "$5$rounds=1000$salt$",
        "6": "$6$rounds=1000$salt$",
        "y": "$y$j75$salt$",
        "gy": "$gy$j75$salt$",
    }.get(kind, f"${kind}$04$" + "." * 22)
    made = _crypt(b"", cheap)
    return made is not None and made.startswith(f"${kind}$")
