"""A slice of the bundles that were made to do harm; ``python -m tests.bundle.hostile`` runs all of them."""

import sys
from pathlib import Path

import pytest

from tests.bundle.hostile import Campaign, all_cases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its cases are made of what Linux has")
# One of each kind of trick; wheels take a real installation each.
CHOSEN = (
    "path of a wheel '../evil'",
    "path of another file '/etc/evil'",
    "name of a piece 'C:evil'",
    "project '--index-url=http://127.0.0.1:9/'",
    "lineage '\\x1b]0;evil\\x07\\x1b[31mred'",
    "size of a file is -1",
    "a manifest that is nested lists",
    "a manifest that is a number of a million digits",
    "manifest.json is 10 GB of nothing",
    "manifest.json is a FIFO",
    "whl/filelock-3.13-py3-none-any.whl is a link to /dev/zero",
    "whl is a link to the root",
    "manifest.json.sig is a FIFO",
    "strange names",
    "a wheel with '../evil'",
)


def test_a_slice_of_the_campaign(tmp_path: Path) -> None:
    cases = {case.name: case for case in all_cases()}
    assert len(cases) > 500
    campaign = Campaign(tmp_path)
    campaign.prepare()
    for name in CHOSEN:
        campaign.run(cases[name])
    assert campaign.failures == []
