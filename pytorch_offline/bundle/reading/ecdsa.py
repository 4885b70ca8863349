"""Verifying ECDSA over the three NIST curves (FIPS 186-5, section 6.4.2) with the standard library.

Only verification, as in ``ed25519.py``.
"""

import hashlib
from typing import Dict, NamedTuple, Optional, Tuple


class _Curve(NamedTuple):
    """A curve y² = x³ - 3x + b over a prime field, its base point and that point's order (SP 800-186, 3.2.1)."""

    field: int
    b: int
    x: int
    y: int
    order: int
    hash: str


_AffinePoint = Optional[Tuple[int, int]]  # None: the point at infinity
# X, Y, Z with x = X/Z², y = Y/Z³: one division at the end instead of one for each step.
_Jacobian = Tuple[int, int, int]

_CURVES: Dict[str, _Curve] = {
    "nistp256": _Curve(
        field=2**256 - 2**224 + 2**192 + 2**96 - 1,
        b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        x=0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        y=0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        hash="sha256",
    ),
    "nistp384": _Curve(
        field=2**384 - 2**128 - 2**96 + 2**32 - 1,
        b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        x=0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        y=0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        order=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        hash="sha384",
    ),
    "nistp521": _Curve(
        field=2**521 - 1,
        b=0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
        x=0x00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
        y=0x011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
        order=0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
        hash="sha512",
    ),
}


def is_known_curve(name: str) -> bool:
    """Say whether signatures over this curve can be verified here."""
    return name in _CURVES


def verify_ecdsa(curve_name: str, public: bytes, message: bytes, signature: Tuple[int, int]) -> bool:
    """Say whether (r, s) is the signature of the message by the uncompressed point (SEC 1, 2.3.4)."""
    curve = _CURVES[curve_name]
    key = _decode_curve_point(curve, public)
    r, s = signature
    if key is None or not 0 < r < curve.order or not 0 < s < curve.order:
        return False
    digest = hashlib.new(curve.hash, message).digest()
    number = int.from_bytes(digest, "big")
    number >>= max(0, 8 * len(digest) - curve.order.bit_length())
    inverse = pow(s, curve.order - 2, curve.order)
    one = _multiply_point(curve, number * inverse % curve.order, (curve.x, curve.y))
    other = _multiply_point(curve, r * inverse % curve.order, key)
    found = _to_affine(curve, _add_points(curve, one, other))
    return found is not None and found[0] % curve.order == r


def _decode_curve_point(curve: _Curve, text: bytes) -> _AffinePoint:
    """Decode a point; None where it is none of the curve, or compressed, which OpenSSH does not write."""
    length = (curve.field.bit_length() + 7) // 8
    if len(text) != 1 + 2 * length or text[:1] != b"\x04":
        return None
    x, y = int.from_bytes(text[1 : 1 + length], "big"), int.from_bytes(text[1 + length :], "big")
    on_curve = x < curve.field and y < curve.field and (y * y - (x * x * x - 3 * x + curve.b)) % curve.field == 0
    return (x, y) if on_curve else None


def _double_point(curve: _Curve, point: _Jacobian) -> _Jacobian:
    x, y, z = point
    if z == 0 or y == 0:
        return (1, 1, 0)
    p = curve.field
    square = y * y % p
    s = 4 * x * square % p
    m = 3 * (x - z * z) * (x + z * z) % p  # a = -3
    x3 = (m * m - 2 * s) % p
    return (x3, (m * (s - x3) - 8 * square * square) % p, 2 * y * z % p)


def _add_points(curve: _Curve, one: _Jacobian, other: _Jacobian) -> _Jacobian:
    if one[2] == 0:
        return other
    if other[2] == 0:
        return one
    p = curve.field
    (x1, y1, z1), (x2, y2, z2) = one, other
    u1, u2 = x1 * z2 * z2 % p, x2 * z1 * z1 % p
    s1, s2 = y1 * z2 * z2 * z2 % p, y2 * z1 * z1 * z1 % p
    if u1 == u2:
        return _double_point(curve, one) if s1 == s2 else (1, 1, 0)
    h, r = (u2 - u1) % p, (s2 - s1) % p
    h2 = h * h % p
    h3, v = h * h2 % p, u1 * h2 % p
    x3 = (r * r - h3 - 2 * v) % p
    return (x3, (r * (v - x3) - s1 * h3) % p, h * z1 * z2 % p)


def _multiply_point(curve: _Curve, scalar: int, point: Tuple[int, int]) -> _Jacobian:
    total: _Jacobian = (1, 1, 0)
    step: _Jacobian = (point[0], point[1], 1)
    while scalar > 0:
        if scalar & 1:
            total = _add_points(curve, total, step)
        step = _double_point(curve, step)
        scalar >>= 1
    return total


def _to_affine(curve: _Curve, point: _Jacobian) -> _AffinePoint:
    x, y, z = point
    if z == 0:
        return None
    inverse = pow(z, curve.field - 2, curve.field)
    square = inverse * inverse % curve.field
    return (x * square % curve.field, y * square * inverse % curve.field)
