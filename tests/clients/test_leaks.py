"""Clients in a network that holds the mirror alone: they install all of it, and try to reach nobody else.

Not that nothing succeeds is proved, but that nothing is tried: in that network every packet to anybody is seen. The
last tests are the controls: they show that it would be.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.closure import BACKEND, fetch
from tests.clients.enclosure import Enclosure, why_not
from tests.clients.limits import limit_of
from tests.clients.nginx import find_nginx
from tests.clients.programs import Installed, Program, bundled
from tests.clients.servers import FILE, NGINX, SERVE, start
from tests.clients.ways import WAYS, Place, carry_out
from tests.net.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
# pip 18.1 and 24.2, where pyenv has these.
OLD = ("3.6", "3.13")
WAY = {way.name: way for way in WAYS["uv"]}
HURRIED = {"PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0"}
UV = Installed(program=Program(name="uv", version=None, python=THIS), python=Path(sys.executable), version="")


def pip(minor: str | None = None) -> Installed:
    found = bundled(minor)
    if found is None:
        pytest.skip(f"no CPython {minor} with pip on this machine")
    return found


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("leaks") / "mirror"
    fetch(root, minors=(THIS, *(minor for minor in OLD if bundled(minor) is not None)), backends=(BACKEND,))
    return root


@pytest.fixture(scope="module")
def enclosure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enclosure]:
    with Enclosure(tmp_path_factory.mktemp("leaks") / "network") as enclosure:
        yield enclosure


@pytest.fixture(scope="module", params=[SERVE, NGINX])
def place(
    request: pytest.FixtureRequest, mirror: Path, enclosure: Enclosure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    if request.param == NGINX and find_nginx() is None:
        pytest.skip("there is no nginx on this machine")
    directory = tmp_path_factory.mktemp("leaks") / "server"
    with start(request.param, mirror, directory, within=enclosure.within) as place:
        enclosure.seen()
        yield place


def check(client: Installed, way: str, place: Place, enclosure: Enclosure, tmp_path: Path) -> None:
    if (limit := limit_of(client.program, way, SERVE)) is not None:
        pytest.skip(limit.words)
    outcome = carry_out(WAY[way].plan(client, place), tmp_path / "client", within=enclosure.within)
    assert outcome.fine, outcome.said
    assert enclosure.seen() == []


@pytest.mark.parametrize("way", ["extra", "wheel, raw +", "requirements", "pylock"])
def test_pip_asks_the_mirror_alone(place: Place, enclosure: Enclosure, tmp_path: Path, way: str) -> None:
    check(pip(), way, place, enclosure, tmp_path)


@pytest.mark.parametrize("way", ["extra", "flat page", "requirements", "yanked"])
def test_uv_asks_the_mirror_alone(place: Place, enclosure: Enclosure, tmp_path: Path, way: str) -> None:
    check(UV, way, place, enclosure, tmp_path)


@pytest.mark.parametrize("minor", OLD)
def test_older_pips_ask_the_mirror_alone(place: Place, enclosure: Enclosure, tmp_path: Path, minor: str) -> None:
    check(pip(minor), "index", place, enclosure, tmp_path)


def test_pytorch_orgs_own_name_can_be_the_mirrors(mirror: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("mirror", names="DNS:download.pytorch.org")
    tls = ("--tls-cert", tmp_path / "mirror.crt", "--tls-key", tmp_path / "mirror.key")
    index = f"https://download.pytorch.org/whl/{BACKEND}"
    typed = {
        pip(): ("torch", "--index-url", index),
        UV: ("torch", "--torch-backend", BACKEND, "--default-index", index),
    }
    trust = {"SSL_CERT_FILE": str(authority.root), "PIP_CERT": str(authority.root)}
    with Enclosure(tmp_path / "network") as enclosure:
        enclosure.give_name("download.pytorch.org")
        with start(SERVE, mirror, tmp_path / "server", within=enclosure.within, port=443, options=tls) as place:
            enclosure.seen()
            for client, options in typed.items():
                plan = WAY["index"].plan(client, place)
                words = [*plan.command[: plan.command.index("target") + 1], *options]
                plan = replace(plan, command=words, settings=trust)
                outcome = carry_out(plan, tmp_path / client.program.name, within=enclosure.within)
                assert outcome.fine, outcome.said
        assert enclosure.seen() == []


OUTSIDE = {
    "http://files.example/": {"look-up of files.example", "connection to 203.0.113.7 port 80"},
    "http://192.0.2.5:8/": {"connection to 192.0.2.5 port 8"},
    "http://[2001:db8::1]/": {"connection to 2001:db8::1 port 80"},
}


@pytest.mark.parametrize("client", ["pip", "uv"])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_link_that_leads_outside_would_be_seen(
    mirror: Path, enclosure: Enclosure, tmp_path: Path, client: str, outside: str
) -> None:
    copy = tmp_path / "mirror"
    shutil.copytree(mirror, copy)
    page = copy / "whl" / BACKEND / "filelock" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert 'href="../../filelock-' in text
    page.write_text(text.replace('href="../../filelock-', f'href="{outside}filelock-'), encoding="utf-8")
    plan = WAY["index"].plan(pip() if client == "pip" else UV, Place(url=copy.as_uri(), root=copy))
    plan = replace(plan, command=[word if word != "torch" else "filelock" for word in plan.command], settings=HURRIED)
    enclosure.seen()
    outcome = carry_out(plan, tmp_path / "client", within=enclosure.within)
    assert not outcome.fine
    assert set(enclosure.seen()) == OUTSIDE[outside], outcome.said


def test_an_extra_index_alone_would_be_seen_to_ask_the_public_one(
    mirror: Path, enclosure: Enclosure, tmp_path: Path
) -> None:
    with start(FILE, mirror, tmp_path / "server", within=enclosure.within) as place:
        plan = WAY["index"].plan(pip(), place)
        words = [word if word != "--index-url" else "--extra-index-url" for word in plan.command]
        enclosure.seen()
        carry_out(replace(plan, command=words, settings=HURRIED), tmp_path / "client", within=enclosure.within)
    assert any(attempt.startswith("look-up of ") for attempt in enclosure.seen())
