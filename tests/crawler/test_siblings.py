"""Which other addresses give the same file, and which must not be asked."""

from __future__ import annotations

import pytest

from pytorch_offline.crawler.siblings import Index, learn_index, sibling_addresses

WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
S3, R2 = f"https://download.pytorch.org{WHEEL}", f"https://download-r2.pytorch.org{WHEEL}"
PAGES = "https://index.example/whl"
HERE, THERE = f"https://index.example{WHEEL}", f"https://files.example{WHEEL}"
LEARNT = learn_index(PAGES, [THERE])


@pytest.mark.parametrize("published", [True, False])
def test_upstreams_two_hosts_stand_in_for_each_other(published: bool) -> None:  # noqa: FBT001  (pytest's parameter)
    assert sibling_addresses(S3, published=published) == (S3, R2)
    assert sibling_addresses(R2, published=published) == (R2, S3)


@pytest.mark.parametrize(
    "link",
    [
        "https://download.pytorch.org/libtorch/cu121/libtorch.zip",
        f"https://download.pytorch.org:8443{WHEEL}",
        f"https://download.pytorch.org.example{WHEEL}",
        f"https://mirror.example{WHEEL}",
        f"file://{WHEEL}",
    ],
)
def test_what_is_elsewhere_has_one_address(link: str) -> None:
    assert sibling_addresses(link, published=True) == (link,)


def test_tls_may_be_entered_and_never_left() -> None:
    plain = f"http://download.pytorch.org{WHEEL}"
    assert sibling_addresses(plain, published=True) == (plain, S3, R2)
    index = learn_index("http://index.example/whl", [f"http://files.example{WHEEL}"])
    assert sibling_addresses(f"https://files.example{WHEEL}", published=True, indexes=[index]) == (
        f"https://files.example{WHEEL}",
    )
    assert learn_index(PAGES, [f"http://files.example{WHEEL}"]) == Index(
        address=PAGES, hosts=("https://index.example",)
    )


def test_an_index_teaches_its_hosts_by_what_it_links() -> None:
    assert LEARNT.hosts == ("https://index.example", "https://files.example")
    assert sibling_addresses(THERE, published=True, indexes=[LEARNT]) == (THERE, HERE)
    assert sibling_addresses(HERE, published=True, indexes=[LEARNT]) == (HERE, THERE)


def test_what_nobody_published_a_hash_of_is_sought_no_further_than_on_the_index_itself() -> None:
    assert sibling_addresses(THERE, published=False, indexes=[LEARNT]) == (THERE, HERE)
    assert sibling_addresses(HERE, published=False, indexes=[LEARNT]) == (HERE,)


def test_a_host_linked_outside_of_the_indexs_own_path_is_no_sibling() -> None:
    cdn = "https://files.example/other/torch-2.4.0-cp311-cp311-linux_x86_64.whl"
    assert learn_index(PAGES, [cdn]).hosts == ("https://index.example",)
    assert sibling_addresses(cdn, published=True, indexes=[LEARNT]) == (cdn,)


def test_a_flat_page_vouches_for_its_own_directory() -> None:
    index = learn_index("https://index.example/whl/cu121/torch_stable.html", [THERE])
    assert index.below == "/whl/cu121/"
    assert index.hosts == ("https://index.example", "https://files.example")


def test_no_host_is_given_another_ones_password_or_query() -> None:
    index = learn_index("https://me:secret@index.example/whl", [THERE])
    assert sibling_addresses(THERE + "?token=1", published=True, indexes=[index]) == (
        THERE + "?token=1",
        f"https://me:secret@index.example{WHEEL}",
    )
    begun = f"https://me:secret@index.example{WHEEL}"
    assert sibling_addresses(begun, published=True, indexes=[index]) == (begun, THERE)
