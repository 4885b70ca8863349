"""An independent reader of every page of a mirror: pypi-simple must find in both forms what the manifest says.

    python -m tests.clients.reader URL MIRROR [--html-alone]

ends with 1 and the first disagreement, or with 0 and how much was read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY, PyPISimple

from pytorch_offline.mirror.layout import MANIFEST_NAME, sidecar_of
from pytorch_offline.mirror.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pypi_simple import DistributionPackage

    from pytorch_offline.mirror.model import MirrorFile


class DisagreementError(Exception):
    """A page says something else than the manifest."""


def read_site(url: str, mirror: Path, *, indexes: Iterable[str], forms: Iterable[str]) -> int:
    """Read every page of some indexes in some forms.

    Returns:
        How many links were compared.

    Raises:
        DisagreementError: naming the page and what differs.
    """
    rows = {row.path.name: row for row in parse_manifest((mirror / MANIFEST_NAME).read_bytes())}
    compared = 0
    for index in indexes:
        for form in forms:
            with PyPISimple(f"{url}/{index}/", accept=form) as client:
                projects = client.get_index_page().projects
                if not projects:
                    raise DisagreementError(f"{index} lists no projects")
                for project in projects:
                    page = client.get_project_page(project)
                    for package in page.packages:
                        compare(package, rows[package.filename], url, form)
                        said = client.get_package_metadata_bytes(package)
                        if said != (mirror / sidecar_of(rows[package.filename].path)).read_bytes():
                            raise DisagreementError(f"METADATA of {package.filename} differs")
                        compared += 1
                    if form == ACCEPT_JSON_ONLY and page.versions != sorted_versions(page.packages):
                        raise DisagreementError(f"{index}/{project}: versions {page.versions}")
    return compared


def compare(package: DistributionPackage, row: MirrorFile, url: str, form: str) -> None:
    """Compare what a page says of a file with its row."""
    wanted: dict[str, Any] = {
        "sha256": row.sha256,
        "requires_python": row.requires_python,
        "metadata": row.metadata_sha256,
        "yanked": row.yanked is not None,
        "reason": row.yanked or None,
        "path": row.path.name,
        "at home": True,
    }
    found: dict[str, Any] = {
        "sha256": package.digests.get("sha256"),
        "requires_python": package.requires_python,
        "metadata": (package.metadata_digests or {}).get("sha256"),
        "yanked": package.is_yanked,
        "reason": package.yanked_reason or None,
        "path": unquote(urlsplit(package.url).path).rpartition("/")[2],
        "at home": package.url.startswith(f"{url}/"),
    }
    if form == ACCEPT_JSON_ONLY:
        wanted["size"], found["size"] = row.size, package.size
    if wanted != found:
        raise DisagreementError(f"{package.filename}, {form}: {json.dumps(found)}; the manifest: {json.dumps(wanted)}")


def sorted_versions(packages: Iterable[DistributionPackage]) -> list[str | None]:
    """The versions of files in the order of the page, each once."""
    return list(dict.fromkeys(package.version for package in packages))


def main(url: str, mirror: Path, *, html_alone: bool) -> int:
    """Read a whole mirror and say how it went."""
    indexes = [index for index in ("whl", "whl/cpu", "whl/cu121") if (mirror / index).is_dir()]
    indexes += [] if html_alone else ["simple"]
    forms = [ACCEPT_HTML_ONLY] if html_alone else [ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY]
    try:
        compared = read_site(url, mirror, indexes=indexes, forms=forms)
    except DisagreementError as disagreement:
        sys.stderr.write(f"{disagreement}\n")
        return 1
    sys.stdout.write(f"{compared} links\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), html_alone="--html-alone" in sys.argv))
