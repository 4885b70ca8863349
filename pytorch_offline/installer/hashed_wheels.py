"""What the installed files of a wheel hash to, and what its RECORD says they should: values, for the proof to judge."""

from typing import Mapping, NamedTuple, Tuple


class HashedWheel(NamedTuple):
    """The files of one wheel, hashed once: on the stage before the switch, or where they lie if they were kept.

    Args:
        project: normalised.
        version: as the lock has it.
        directory: the directory of the environment that its paths are relative to.
        on_disk: path in the installed RECORD → ``sha256=…`` of the file, as RECORD writes it.
        problems: path and what is wrong with it, where the installed RECORD and the file disagree.
        expected: path → ``sha256=…`` in the RECORD of the verified wheel.
        size: bytes that were hashed.
    """

    project: str
    version: str
    directory: str
    on_disk: Mapping[str, str]
    problems: Tuple[Tuple[str, str], ...]
    expected: Mapping[str, str]
    size: int = 0
