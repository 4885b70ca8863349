"""What else is served beside upstream: a default index for everything that is not torch's own, and plain listings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pytorch_offline.simulator import pages
from pytorch_offline.simulator.bodies import PAGE_TYPE, Page
from pytorch_offline.simulator.offers import DEFAULT_INDEX, Offer
from pytorch_offline.simulator.pages import Row, escape_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from pytorch_offline.simulator.spec import Spec

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
CACHE_CONTROL = "max-age=600, public"
# The serial number that pages of the default index end with; any will do.
SERIAL = 27418093


class DefaultIndex:
    """A PEP 503 and PEP 691 index over the offers of ``DEFAULT_INDEX`` that are shown at a moment.

    Args:
        spec: the wheels.
        moment: what was published later is not shown.
        url: the host that serves the files, without a path.
    """

    def __init__(self, spec: Spec, moment: datetime, url: str) -> None:
        self._spec = spec
        self._moment = moment
        self._url = url

    def render(self, path: str, *, wants_json: bool) -> Page | None:
        """Write the page at a path below ``/simple/``, which ends with a slash; None where there is none."""
        name = path.removeprefix("/simple/").removesuffix("/")
        content_type = JSON_TYPE if wants_json else PAGE_TYPE
        if not name:
            names = sorted({_simple_name(offer) for offer in self._offers()})
            make: Callable[..., bytes] = pages.render_json_list if wants_json else pages.render_simple_list
            return Page(text=make(names, serial=SERIAL), content_type=content_type, cache_control=CACHE_CONTROL)
        rows = self.rows(name)
        if not rows or not path.endswith("/"):
            return None
        if not wants_json:
            text = pages.render_simple_page(name, rows, serial=SERIAL)
        else:
            versions = sorted({row.text.split("-")[1] for row in rows})
            text = pages.render_json_page(name, rows, versions, serial=SERIAL)
        return Page(text=text, content_type=content_type, cache_control=CACHE_CONTROL)

    def _offers(self) -> Iterable[Offer]:
        return (offer for offer in self._spec.shown(self._moment) if offer.directory == DEFAULT_INDEX)

    def rows(self, name: str) -> list[Row]:
        """The links of a project's page, by file name."""
        rows = []
        for offer in self._offers():
            if _simple_name(offer) != name:
                continue
            body = self._spec.body(offer)
            facts = _requires_python(self._spec.metadata(offer))
            rows.append(
                Row(
                    href=f"{self._url}/packages/{escape_key(offer.filename)}",
                    text=offer.filename,
                    sha256=body.sha256 if offer.hash_listed is True else offer.hash_listed or None,
                    metadata_sha256=self._spec.metadata_hash(offer),
                    requires_python=facts,
                    upload_time=f"{offer.published:%Y-%m-%dT%H:%M:%S.000000Z}",
                    yanked=offer.yanked,
                    size=body.size,
                )
            )
        return sorted(rows, key=lambda row: row.text)


def render_listing(spec: Spec, moment: datetime, path: str) -> Page | None:
    """List a directory of upstream at ``/listing/whl/…/``, as public copies do; None where there is none."""
    directory = path.removeprefix("/listing/whl/").removesuffix("/")
    files: list[tuple[str, datetime, int | None]] = []
    subdirectories: dict[str, datetime] = {}
    for offer in spec.shown(moment):
        if offer.directory == DEFAULT_INDEX:
            continue
        if offer.directory == directory:
            files.append((offer.filename, offer.published, spec.body(offer).size))
        elif not directory or offer.directory.startswith(f"{directory}/"):
            inner = offer.directory.removeprefix(f"{directory}/" if directory else "").partition("/")[0]
            subdirectories[inner] = max(offer.published, subdirectories.get(inner, offer.published))
    if not files and not subdirectories:
        return None
    entries = [(name, changed, None) for name, changed in sorted(subdirectories.items())]
    return Page(text=pages.render_listing(path, [*entries, *sorted(files)]))


def _simple_name(offer: Offer) -> str:
    return canonicalize_name(offer.filename.partition("-")[0])


def _requires_python(metadata: bytes) -> str | None:
    for line in metadata.decode().split("\n\n", 1)[0].splitlines():
        if line.startswith("Requires-Python: "):
            return line.removeprefix("Requires-Python: ")
    return None
