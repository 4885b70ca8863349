"""Every page, read by pypi-simple, says what the manifest says; and a page that does not is found out."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY

from pytorch_offline.mirror.store import Mirror
from tests.clients.nginx import Nginx, find_nginx
from tests.clients.reader import DisagreementError, read_site
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, craft_wheel
from tests.server.serving import Serving

if TYPE_CHECKING:
    from pathlib import Path

INDEXES = ("whl", "whl/cpu", "whl/cu121", "simple")
FORMS = (ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY)
NEWER = craft_wheel("whl/sympy-1.10-py3-none-any.whl", requires_python=">=3.8, <4")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mirror = Mirror(tmp_path_factory.mktemp("reader") / "mirror")
    with mirror.lock():
        for wheel in (TORCH_CPU, TORCH_CUDA, SYMPY):
            wheel.admit(mirror, upload_time="2026-01-23T15:10:34+02:00")
        NEWER.admit(mirror, yanked='"broken" & <withdrawn>')
        mirror.publish()
    return mirror.root


def test_our_own_server_says_what_the_manifest_says(root: Path) -> None:
    with Serving.mirror(root) as server:
        # Both projects twice as whl and simple list them, and per backend sympy twice and torch once; in both forms.
        assert read_site(server.url, root, indexes=INDEXES, forms=FORMS) == 2 * (2 * 4 + 2 * 3)


@pytest.mark.skipif(find_nginx() is None, reason="there is no nginx on this machine")
def test_nginx_says_what_the_manifest_says(root: Path, tmp_path: Path) -> None:
    with Nginx(root, tmp_path / "nginx") as server:
        assert read_site(server.url, root, indexes=INDEXES, forms=FORMS) == 2 * (2 * 4 + 2 * 3)


@pytest.mark.skipif(find_nginx() is None, reason="there is no nginx on this machine")
@pytest.mark.parametrize(
    ("name", "said", "instead"),
    [
        ("index.html", NEWER.sha256, "0" * 64),
        ("index.html", "&gt;=3.8", "&gt;=3.9"),
        ("index.html", ' data-yanked="', ' data-other="'),
        ("index.html", 'href="../', 'href="http://files.example/'),
        ("index.v1+json", f'"size": {len(SYMPY.body)}', '"size": 1'),
        ("index.v1+json", '"yanked": false', '"yanked": true'),
        ("index.v1+json", '"url": "../', '"url": "http://files.example/'),
    ],
)
def test_a_page_that_says_something_else_is_found_out(
    root: Path, tmp_path: Path, name: str, said: str, instead: str
) -> None:
    copy = tmp_path / "mirror"
    shutil.copytree(root, copy)
    page = copy / "whl/sympy" / name
    text = page.read_text(encoding="utf-8")
    assert said in text
    page.write_text(text.replace(said, instead), encoding="utf-8")
    with Nginx(copy, tmp_path / "nginx") as server, pytest.raises(DisagreementError, match="sympy"):
        read_site(server.url, copy, indexes=("whl",), forms=FORMS)
