"""Where chosen wheels go below the mirror's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.mirror.layout import mirror_path
from pytorch_offline.selector.model import Choice, Selection, Source

if TYPE_CHECKING:
    from pathlib import PurePosixPath


def place_of(choice: Choice) -> PurePosixPath:
    """Say where a chosen wheel goes below the mirror's directory."""
    candidate = choice.candidate
    # A build of the family that was asked for by address still lies where upstream has it.
    direct = candidate.source is Source.DIRECT and candidate.project in family_projects()
    return mirror_path(candidate.file.link.path, from_upstream=direct or candidate.source is Source.UPSTREAM)


def places_of(selection: Selection) -> dict[str, str]:
    """Map each chosen wheel's address to its place below the mirror."""
    return {choice.candidate.file.link.url: str(place_of(choice)) for choice in selection.choices}
