"""Names on media: what of a name survives a file system, a gateway or a copy, and what file managers leave behind."""

from typing import Tuple

# What a bundle or a volume holds below its top; anything else in there came from elsewhere.
MEDIA_DIRECTORIES = ("whl", "locks", "tools", "data", "parity")

# Where parity lies, and where a plain bundle with parity keeps copies of the files at its top, should those be damaged.
COPIES_DIRECTORY = "parity"

# Gateways and archivers write the `+` of local versions in these ways (research/mirrors.md, section 3.3).
_MANGLED_PLUS = ("%252b", "%2b", " ", "+")

# Left behind by macOS, Windows, Linux desktops, file systems and mkisofs; none of it was ever part of a bundle.
_DROPPINGS = frozenset(
    (
        ".ds_store",
        ".trash",
        ".trashes",
        ".spotlight-v100",
        ".fseventsd",
        ".temporaryitems",
        ".documentrevisions-v100",
        ".apdisk",
        ".directory",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "autorun.inf",
        "indexervolumeguid",
        "wpsettings.dat",
        "system volume information",
        "$recycle.bin",
        "recycler",
        "lost+found",
        "found.000",
        "trans.tbl",
        "rr_moved",
    )
)
_DROPPING_BEGINNINGS = ("._", ".trash-", ".nfs", ".fuse_hidden")


def fold_name(name: str) -> str:
    """Give the form in which all spellings of one name that media make of it are equal.

    Letter case goes, ``+`` and what gateways make of it become ``_``, and so does the version that ISO 9660 writes
    where it has no extensions (``NAME.;1``).
    """
    folded = name.lower()
    if folded.endswith(";1"):
        folded = folded[:-2].rstrip(".")
    for spelling in _MANGLED_PLUS:
        folded = folded.replace(spelling, "_")
    return folded


def fold_path(path: str) -> Tuple[str, ...]:
    """Give the folded names of a path with ``/``, from the top."""
    return tuple(fold_name(name) for name in path.split("/"))


def is_dropping(name: str) -> bool:
    """Say whether a file or directory is one that file managers and file systems leave everywhere."""
    lowered = name.lower()
    return lowered in _DROPPINGS or lowered.startswith(_DROPPING_BEGINNINGS)
