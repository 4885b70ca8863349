"""Which other addresses give the same file: upstream keeps its wheels on two hosts, under the same paths.

Either host has been out while the other was not: download-r2 by its TLS (pytorch/pytorch#189056) and by files that
only S3 had (pytorch/vision#9393). Who is whose sibling is known in two ways. The table ``knowledge/upstream_hosts.csv``
names PyTorch's own hosts. And an index teaches it: where its pages link some wheels on another host, below the path
that the index itself has, the wheels of both are looked for on both. So a stand-in for upstream, which no table can
know, is served in the same way.

What guards this: the sha256 that the page published judges the bytes, wherever they came from. A file of which nothing
was published is looked for only where trust in the index already reaches: on the index's own host, whose word is all
that vouches for the file anyway, and among PyTorch's own hosts; and ``transfer.py`` joins no bytes of two hosts then.
Nothing ever goes from https to http, and one host's user and password never to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pytorch_offline.addresses import origin, url_path
from pytorch_offline.knowledge.upstream_hosts import upstream_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index of upstream's layout, and the hosts (as addresses without a path) where it keeps wheels.

    ``address`` is where its pages begin: ``https://download.pytorch.org/whl``.
    """

    address: str
    hosts: tuple[str, ...]

    @property
    def below(self) -> str:
        """The path below which its hosts hold the same files, with a slash at the end."""
        directory = url_path(self.address)
        if directory.endswith((".html", ".htm")):
            directory = directory.rpartition("/")[0]
        return directory.rstrip("/") + "/"


def learn_index(address: str, links: Iterable[str]) -> Index:
    """Learn from the addresses of wheels that an index linked which hosts it keeps them on."""
    index = Index(address=address, hosts=())
    hosts = {origin(address): _root(address)}
    for link in links:
        if url_path(link).startswith(index.below) and _follows(address, link):
            hosts.setdefault(origin(link), _root(link))
    return Index(address=address, hosts=tuple(hosts.values()))


def sibling_addresses(link: str, *, published: bool, indexes: Iterable[Index] = ()) -> tuple[str, ...]:
    """Say where a wheel may be had: where its page says, then wherever else the same file lies.

    Args:
        link: what the page says.
        published: whether a sha256 was published for it, which will judge the bytes.
        indexes: what was learnt of the indexes in use.
    """
    path = url_path(link)
    found = {origin(link): link}
    roots = [*_known_siblings(link, path)]
    for index in indexes:
        hosts = {origin(host): host for host in index.hosts}
        if origin(link) in hosts and path.startswith(index.below):
            roots += hosts.values() if published else [_root(index.address)]
    for root in roots:
        if _follows(link, root):
            found.setdefault(origin(root), _moved(link, root))
    return tuple(found.values())


def _known_siblings(link: str, path: str) -> list[str]:
    hosts, parts = upstream_hosts(), urlsplit(link)
    if parts.hostname not in hosts or _names_port(parts) or not path.startswith(hosts[parts.hostname]):
        return []
    return [f"https://{host}" for host, below in hosts.items() if path.startswith(below)]


def _follows(before: str, after: str) -> bool:
    """Say whether one may go from one address to another: both on the network, and never out of TLS."""
    schemes = urlsplit(before).scheme, urlsplit(after).scheme
    return schemes in {("http", "http"), ("http", "https"), ("https", "https")}


def _root(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path="", query="", fragment=""))


def _moved(link: str, root: str) -> str:
    """Put an address on another host, its path as it goes on the wire."""
    host = urlsplit(root)
    return urlunsplit(urlsplit(link)._replace(scheme=host.scheme, netloc=host.netloc, query=""))


def _names_port(parts: SplitResult) -> bool:
    try:
        return parts.port is not None
    except ValueError:
        return True
