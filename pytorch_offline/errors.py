"""The four families of errors, each telling whose problem it is, with stable codes and exit codes.

``UsageError`` (the request cannot be meant), ``UpstreamError`` (an index or the network), ``IntegrityError`` (bytes
disagree with a hash, a RECORD, a signature or a manifest) and ``UnsatisfiableError`` (no wheel, no resolution, target
too old). Every error carries a kebab-case code that scripts may rely on, one sentence, its facts, and often a hint.
No other exception may cross from one room into another.
"""

from typing import ClassVar, Dict, Mapping, Optional, Sequence, Tuple


class PytorchOfflineError(Exception):
    """The root of all our errors.

    Args:
        code: a stable kebab-case name of this one problem, e.g. ``project-not-found``.
        message: one sentence that says what is wrong.
        facts: what was seen, as ordered name/value pairs, for people and for ``--json``.
        hint: what the reader can do about it.
        sections: sentences below a heading each, for people: more than a fact has room for.
        data: what scripts get beside the rest, by name.
    """

    exit_code: ClassVar[int] = 1
    family: ClassVar[str] = "error"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        facts: Optional[Mapping[str, object]] = None,
        hint: Optional[str] = None,
        sections: Optional[Mapping[str, Sequence[str]]] = None,
        data: Optional[Mapping[str, object]] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts: Dict[str, object] = dict(facts or {})
        self.hint = hint
        self.sections: Dict[str, Tuple[str, ...]] = {name: tuple(lines) for name, lines in (sections or {}).items()}
        self.data: Dict[str, object] = dict(data or {})

    def __str__(self) -> str:
        return self.message


class UsageError(PytorchOfflineError):
    """The request cannot be meant as it stands."""

    exit_code = 2
    family = "usage"


class UpstreamError(PytorchOfflineError):
    """An index or the network did not give what it should; includes this machine's own disk being full."""

    exit_code = 3
    family = "upstream"


class IntegrityError(PytorchOfflineError):
    """Bytes disagree with a hash, a RECORD, a signature or a manifest."""

    exit_code = 4
    family = "integrity"


class UnsatisfiableError(PytorchOfflineError):
    """No wheel, no resolution, or the target is too old."""

    exit_code = 5
    family = "unsatisfiable"
