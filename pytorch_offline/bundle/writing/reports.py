"""What a bundle says of itself beside its manifest: a page for people, and an SBOM where its library is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.bundle.writing.contents import CONTENTS_NAME, render_contents
from pytorch_offline.bundle.writing.licences import read_terms
from pytorch_offline.bundle.writing.sbom import SBOM_NAME, has_cyclonedx, render_sbom, require_cyclonedx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytorch_offline.bundle.format.model import Manifest

SBOM_LEFT_OUT = (
    f"{SBOM_NAME} is left out: CycloneDX's library is not installed (pip install 'pytorch-offline[bundle]'); "
    "--no-sbom says that none is wanted"
)


def make_reports(
    places: Mapping[str, Path], draft: Manifest, *, sbom: bool | None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Make the reports of a bundle by their names; give warnings beside them.

    ``places`` says where the bytes of each file lie now, by its path. ``sbom`` is whether one is wanted; None for where
    it can be made.

    Raises:
        UsageError: ``no-cyclonedx`` if one is wanted and cannot be made.
    """
    if sbom:
        require_cyclonedx()
    projects = {wheel.path: wheel.project for target in draft.targets for wheel in target.wheels}
    projects.update((tool.path, tool.name) for tool in draft.tools)
    terms = {
        file.path: read_terms(places[file.path], file, projects[file.path])
        for file in draft.files
        if file.path in projects and file.path in places
    }
    reports = {CONTENTS_NAME: render_contents(draft, terms)}
    if sbom is False:
        return reports, ()
    if not has_cyclonedx():
        return reports, (SBOM_LEFT_OUT,)
    return {**reports, SBOM_NAME: render_sbom(draft, terms)}, ()
