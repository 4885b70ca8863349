"""What a delta leaves out is in its base: whether that lies here too, and what to say where it does not."""

from typing import BinaryIO, Sequence

from pytorch_offline.bundle.format.model import BundleFile
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import UsageError

# So many files are named; the sentence says how many there are.
_NAMED_OF_BASE = 20


def lacking_base(source: Source, files: Sequence[BundleFile]) -> Sequence[BundleFile]:
    """Give the files that a delta leaves out and that lie nowhere in the directories that were named."""
    return [file for file in files if not file.carried and source.locate(file).missing]


def require_base(source: Source, files: Sequence[BundleFile]) -> None:
    """Refuse to go on without files that lie in the base of a delta.

    Raises:
        UsageError: ``base-missing``, naming the base and the files.
    """
    lacking = lacking_base(source, files)
    if not lacking:
        return
    names = [file.path for file in lacking]
    more = [f"and {len(names) - _NAMED_OF_BASE} more"] if len(names) > _NAMED_OF_BASE else []
    several = "1 file that is needed lies" if len(names) == 1 else f"{len(names)} files that are needed lie"
    raise UsageError(
        "base-missing",
        f"this bundle is a delta: {several} in its base, which is not here",
        facts={"base": source.manifest.base, "missing": names[:_NAMED_OF_BASE] + more},
        hint="name the directories of both: --from BASE --from DELTA; or import both into a mirror",
    )


def open_with_base(source: Source, path: str) -> BinaryIO:
    """Open a file of a bundle, or say that its base is missing.

    Raises:
        UsageError: ``base-missing``.
        IntegrityError: see ``Source.open_file``.
    """
    if lacking_base(source, [source.file_named(path)]):
        require_base(source, source.manifest.files)
    return source.open_file(path)
