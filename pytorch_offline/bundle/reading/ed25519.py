"""Verifying Ed25519 (RFC 8032, section 5.1.7) with the standard library, for machines that have no ssh-keygen.

Only verification: nothing here is secret, so that nothing has to take the same time for every input. Stricter than the
RFC asks: a point or an S that is not in its one canonical form is refused, and so is a public key or an R of small
order, for which one signature would fit many messages. The group's equation is taken without the cofactor, as OpenSSH
takes it.
"""

import hashlib
from typing import NamedTuple, Optional

_ED_FIELD = 2**255 - 19
_ED_ORDER = 2**252 + 27742317777372353535851937790883648493
_ED_D = -121665 * pow(121666, _ED_FIELD - 2, _ED_FIELD) % _ED_FIELD
_ED_ROOT_OF_MINUS_ONE = pow(2, (_ED_FIELD - 1) // 4, _ED_FIELD)
ED25519_KEY_BYTES = 32
ED25519_SIGNATURE_BYTES = 64


class _EdPoint(NamedTuple):
    """A point in extended homogeneous coordinates: x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)."""

    x: int
    y: int
    z: int
    t: int


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether the 64 bytes are the signature of the message by the key of 32 bytes."""
    if len(public) != ED25519_KEY_BYTES or len(signature) != ED25519_SIGNATURE_BYTES:
        return False
    key = _decode_ed_point(public)
    commitment = _decode_ed_point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= _ED_ORDER:
        return False
    if _has_small_order(key) or _has_small_order(commitment):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % _ED_ORDER
    left = _multiply_ed(scalar, _ED_BASE)
    right = _add_ed(commitment, _multiply_ed(challenge, key))
    return _same_ed_point(left, right)


def _decode_ed_point(text: bytes) -> Optional[_EdPoint]:
    """Decode 32 bytes (RFC 8032, 5.1.3); None where they are no point, or not its canonical form."""
    number = int.from_bytes(text, "little")
    sign = number >> 255
    y = number & ((1 << 255) - 1)
    if y >= _ED_FIELD:
        return None
    x = _recover_x(y, sign)
    return None if x is None else _EdPoint(x, y, 1, x * y % _ED_FIELD)


def _recover_x(y: int, sign: int) -> Optional[int]:
    """Find x of a point on the curve from its y and the lowest bit of x."""
    numerator = (y * y - 1) % _ED_FIELD
    denominator = (_ED_D * y * y + 1) % _ED_FIELD
    square = numerator * pow(denominator, _ED_FIELD - 2, _ED_FIELD) % _ED_FIELD
    if square == 0:
        return None if sign else 0
    x = pow(square, (_ED_FIELD + 3) // 8, _ED_FIELD)
    if (x * x - square) % _ED_FIELD != 0:
        x = x * _ED_ROOT_OF_MINUS_ONE % _ED_FIELD
    if (x * x - square) % _ED_FIELD != 0:
        return None
    return x if x & 1 == sign else _ED_FIELD - x


def _add_ed(one: _EdPoint, other: _EdPoint) -> _EdPoint:
    """Add two points (RFC 8032, 5.1.4); complete, so that it doubles as well."""
    a = (one.y - one.x) * (other.y - other.x) % _ED_FIELD
    b = (one.y + one.x) * (other.y + other.x) % _ED_FIELD
    c = 2 * one.t * other.t * _ED_D % _ED_FIELD
    d = 2 * one.z * other.z % _ED_FIELD
    e, f, g, h = b - a, d - c, d + c, b + a
    return _EdPoint(e * f % _ED_FIELD, g * h % _ED_FIELD, f * g % _ED_FIELD, e * h % _ED_FIELD)


def _multiply_ed(scalar: int, point: _EdPoint) -> _EdPoint:
    """Multiply a point by a scalar, bit by bit."""
    total = _ED_NEUTRAL
    while scalar > 0:
        if scalar & 1:
            total = _add_ed(total, point)
        point = _add_ed(point, point)
        scalar >>= 1
    return total


def _same_ed_point(one: _EdPoint, other: _EdPoint) -> bool:
    return (one.x * other.z - other.x * one.z) % _ED_FIELD == 0 and (one.y * other.z - other.y * one.z) % _ED_FIELD == 0


def _has_small_order(point: _EdPoint) -> bool:
    """Whether eight times the point is the neutral element."""
    for _ in range(3):
        point = _add_ed(point, point)
    return _same_ed_point(point, _ED_NEUTRAL)


_ED_NEUTRAL = _EdPoint(0, 1, 1, 0)
_ED_BASE_Y = 4 * pow(5, _ED_FIELD - 2, _ED_FIELD) % _ED_FIELD
_ED_BASE_X = _recover_x(_ED_BASE_Y, 0) or 0
_ED_BASE = _EdPoint(_ED_BASE_X, _ED_BASE_Y, 1, _ED_BASE_X * _ED_BASE_Y % _ED_FIELD)
