"""``--export-manifest``: what lies here, as one small file that travels back for ``bundle --since``."""

from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

from pytorch_offline.bundle.reading.exporting import Exported, holdings_of_source, read_mirror_holdings, write_holdings
from pytorch_offline.bundle.reading.findings import say_bytes
from pytorch_offline.bundle.reading.opening import says_bundle
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import UpstreamError


def holds_mirror(places: Sequence[str]) -> bool:
    """Whether one directory is named, and its manifest is a mirror's."""
    return len(places) == 1 and says_bundle(places[0]) is False


def export_manifest(places: Sequence[str], source: Optional[Source], file: str) -> Tuple[Dict[str, Any], str]:
    """Write down what lies in some directories; give the document and the text that say so.

    Args:
        places: the directories.
        source: the bundle that was opened there; None for a mirror's directory.
        file: where to.

    Raises:
        IntegrityError: ``bad-manifest``, ``bad-bundle-memory``.
        UpstreamError: ``disk-failed`` if it cannot be written.
    """
    holdings = read_mirror_holdings(places[0]) if source is None else holdings_of_source(source)
    try:
        exported = write_holdings(Path(file), holdings)
    except OSError as error:
        raise UpstreamError("disk-failed", f"{file} cannot be written: {error.strerror or error}") from error
    return exported_document(exported), render_exported(exported)


def exported_document(exported: Exported) -> Dict[str, Any]:
    """Make the document of a file of holdings."""
    return {
        "path": exported.path,
        "files": exported.files,
        "bytes": exported.size,
        "bundles": [
            {"lineage": bundle.lineage, "id": bundle.id, "counter": bundle.counter} for bundle in exported.bundles
        ],
    }


def render_exported(exported: Exported) -> str:
    """Say what was written, and where it goes."""
    several = "1 wheel that is" if exported.files == 1 else f"{exported.files} wheels that are"
    return (
        f"{exported.path}: {several} here, in {say_bytes(exported.size)}; "
        "take it to the other side, for `pytorch-offline bundle --since FILE`"
    )
