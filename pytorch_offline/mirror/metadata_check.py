"""Does the closure stand, now that the wheels are here?

A selection is resolved from METADATA that may have come from a sidecar file, and sidecars have been wrong
(pytorch#197552). Once the wheels are here their own METADATA is known, and decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.addresses import without_credentials
from pytorch_offline.errors import IntegrityError
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.places import place_of
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import PurePosixPath

    from pytorch_offline.crawler.model import Link
    from pytorch_offline.selector.model import Choice, Selection
    from pytorch_offline.wheels.metadata import CoreMetadata


def check_metadata(
    selections: Iterable[Selection],
    *,
    read: Callable[[PurePosixPath], bytes],
    correct: Callable[[Link, bytes], None],
) -> None:
    """Compare what was resolved from with what the wheels say themselves.

    Args:
        selections: what was resolved; their wheels are in the mirror.
        read: reads a file of the mirror by its path.
        correct: remembers a wheel's own METADATA for the next resolution.

    Raises:
        IntegrityError: ``metadata-mismatch`` if a wheel has other requirements than the closure was resolved from.
            What is true is remembered first, so that the same command resolves anew.
    """
    wrong: dict[str, str] = {}
    for selection in selections:
        for choice in selection.choices:
            if choice.metadata is None:
                continue
            body = read(sidecar_of(place_of(choice)))
            if _differs(choice.metadata, parse_metadata(body)):
                correct(choice.candidate.file.link, body)
                wrong[choice.candidate.file.name.filename] = _page_of(choice)
    if wrong:
        raise IntegrityError(
            "metadata-mismatch",
            "the METADATA that the index offers separately is not that of the wheels, so the closure may be wrong",
            facts=wrong,
            hint="the wheels' own METADATA is known now: run the same command again",
        )


def _differs(resolved_from: CoreMetadata, own: CoreMetadata) -> bool:
    """Whether two METADATA lead to different closures (pip 26.2 compares the same fields)."""
    return (
        set(map(str, resolved_from.requires_dist)) != set(map(str, own.requires_dist))
        or resolved_from.requires_python != own.requires_python
        or resolved_from.provides_extra != own.provides_extra
    )


def _page_of(choice: Choice) -> str:
    return f"listed on {without_credentials(choice.candidate.file.page_url)}"
