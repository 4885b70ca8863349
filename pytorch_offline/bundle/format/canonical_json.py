"""JSON in one form: equal values give equal bytes, so that bytes can be compared, hashed and signed.

Keys sorted, no blanks, ASCII, no floating point. What is read back may come from anybody: numbers are bounded in length
(CPython's own conversion takes quadratic time), keys may not repeat, nesting may not exhaust the stack.
"""

import json
from typing import Any, Dict, List, Tuple

# No number of ours needs more digits: sizes end at 2^63.
MAX_DIGITS = 20
# Objects and lists in one document: a file of a bundle has a few, and each takes far more memory than its two brackets.
MAX_CONTAINERS = 1_000_000


def render_canonical(value: Any) -> str:  # noqa: ANN401  (any value of JSON)
    """Render a value made of objects with text keys, lists, texts, whole numbers, booleans and None."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse_strict_json(body: bytes) -> Any:  # noqa: ANN401  (any value of JSON)
    """Read a JSON document of such values.

    Raises:
        ValueError: it is none, in whichever way.
    """
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise ValueError("it holds more objects and lists than any document of ours")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object_of_distinct_keys,
            parse_int=_bounded_number,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object_of_distinct_keys(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _bounded_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(text)


def _refuse_number(text: str) -> int:
    raise ValueError(f"a number is not whole: {text[:MAX_DIGITS]}")
