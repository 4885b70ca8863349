"""A short campaign of kills; ``kill_campaign.py`` by hand is a long one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.bundle.kill_campaign import BUNDLES, IMPORTS, BundleCampaign, ImportCampaign

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (400_000, 900_000, 200_000)


def test_no_kill_makes_a_bundle_look_finished_or_another_one(tmp_path: Path) -> None:
    tally = BundleCampaign(tmp_path, chance=random.Random(), sizes=SIZES, options=BUNDLES["volumes"]).run(2)
    assert tally.problems == []
    assert tally.kills >= 2
    assert tally.successes > 0


def test_no_kill_of_an_import_is_seen_by_clients_or_leaves_anything_behind(tmp_path: Path) -> None:
    options = IMPORTS["import of a delta"]
    tally = ImportCampaign(tmp_path, chance=random.Random(), sizes=SIZES, options=options).run(2)
    assert tally.problems == []
    assert tally.kills >= 2
    assert tally.answers > 0
