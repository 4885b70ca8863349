"""A mirror that bundles are merged into while clients read it; ``served.py`` by hand takes a hundred."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytorch_offline.bundle.importing.run import import_bundle
from pytorch_offline.mirror.store import Mirror
from tests.bundle.importing.served import chain, hammered
from tests.mirror.wheels import now

if TYPE_CHECKING:
    from pathlib import Path


def test_clients_find_one_edition_after_another_and_nothing_between(tmp_path: Path) -> None:
    editions = chain(8)
    mirror = Mirror(tmp_path / "far")
    import_bundle(mirror, editions[0].write(tmp_path / "0"), now=now)
    with hammered(tmp_path / "far", editions) as hammer:
        for number, edition in enumerate(editions[1:], start=1):
            import_bundle(mirror, edition.write(tmp_path / str(number)), now=now)
            time.sleep(0.2)
        time.sleep(1.5)  # the server looks once a second
    assert hammer.problems == []
    assert min(hammer.seen[what] for what in ("page", "wheel", "lock", "manifest", "file on disk")) > 5
