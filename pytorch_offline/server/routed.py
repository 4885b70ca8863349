"""Pages of the server's own beside what a mirror has: the page for people, its health, its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytorch_offline.server.resources import Resource, Site


class Routed:
    """A site with further resources at paths of their own, which come before the site's.

    Args:
        site: everything else.
        routes: what lies at which path, e.g. a ``LivePage`` at ``/health``.
    """

    def __init__(self, site: Site, routes: Mapping[str, Resource]) -> None:
        self._site = site
        self._routes = dict(routes)

    def find(self, path: str) -> Resource | None:
        """Give what lies at a path; see ``Site``."""
        return self._routes.get(path) or self._site.find(path)

    async def bring(self, path: str) -> Resource | None:
        """Give what the site can bring."""
        return await self._site.bring(path)
