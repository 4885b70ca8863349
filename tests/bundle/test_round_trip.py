"""A LAN mirror kept by deltas: what it holds travels back, only the rest is carried, and it ends as a whole one."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.format.holdings import holdings_id, render_holdings
from pytorch_offline.bundle.importing.held import holdings_of_mirror
from pytorch_offline.bundle.importing.run import import_bundle
from pytorch_offline.bundle.reading.bases import require_base
from pytorch_offline.bundle.reading.exporting import holdings_of_source, read_mirror_holdings, write_holdings
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.bundle.writing.gathering import BundleWishes, gather
from pytorch_offline.bundle.writing.since import parse_since, read_since
from pytorch_offline.bundle.writing.write import BundleReport, write_bundle
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from tests.e2e.tool import run_json, run_tool
from tests.installer.crafted import linux_target, pure, torch, write_mirror
from tests.mirror.wheels import now, tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.installer.crafted import Crafted

TARGET = linux_target()
TORCH, FILELOCK = torch(), pure("filelock", "3.13")
NUMPY, TRITON = pure("numpy", "2.0"), pure("triton", "3.0", directory="whl/cpu")
FIRST, SECOND, THIRD = [TORCH, FILELOCK], [TORCH, FILELOCK, NUMPY], [TORCH, FILELOCK, NUMPY, TRITON]


def near(root: Path, wheels: Sequence[Crafted], *, locks: Sequence[str] = ("node",)) -> Path:
    """Let the mirror on the connected side hold these wheels; what it remembers stays."""
    if root.exists():
        shutil.rmtree(root / "locks")
    return write_mirror(root, dict.fromkeys(locks, wheels), target=TARGET)


def bundle(mirror: Path, out: Path, since: Path | None = None) -> BundleReport:
    wishes = BundleWishes(mirror=mirror, out=out, since=None if since is None else read_since(since))
    contents, _ = gather(wishes, lambda *_: None)
    return write_bundle(wishes, contents, now=now, progress=Silent())


def take(root: Path, *places: Path) -> None:
    import_bundle(Mirror(root), open_source([str(place) for place in places]), now=now)


def export(mirror: Path, file: Path) -> Path:
    write_holdings(file, holdings_of_mirror(Mirror(mirror)))
    return file


def wheels_in(directory: Path) -> set[str]:
    return {path.name.split("-")[0] for path in directory.rglob("*.whl")}


def test_two_deltas_by_what_travelled_back_make_the_mirror_that_one_bundle_makes(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    bundle(mirror, tmp_path / "1")
    take(far, tmp_path / "1")
    near(mirror, SECOND)
    second = bundle(mirror, tmp_path / "2", export(far, tmp_path / "held.json.gz"))
    assert wheels_in(tmp_path / "2") == {"numpy"}
    assert second.saving is not None
    assert second.saving.files == 2
    take(far, tmp_path / "2")
    near(mirror, THIRD)
    bundle(mirror, tmp_path / "3", export(far, tmp_path / "held.json"))
    assert wheels_in(tmp_path / "3") == {"triton"}
    take(far, tmp_path / "3")
    bundle(mirror, tmp_path / "all")
    take(tmp_path / "full", tmp_path / "all")
    assert tree(far) == tree(tmp_path / "full")
    assert not verify_mirror(Mirror(far), deep=True, now=now).findings


def test_a_delta_and_a_whole_bundle_of_the_same_content_have_one_id(tmp_path: Path) -> None:
    mirror = near(tmp_path / "near", FIRST)
    bundle(mirror, tmp_path / "1")
    near(mirror, SECOND)
    delta = bundle(mirror, tmp_path / "2", tmp_path / "1" / "manifest.json").manifest
    whole = bundle(mirror, tmp_path / "all").manifest
    assert (delta.id, delta.counter, delta.created) == (whole.id, whole.counter, whole.created)
    assert (delta.base is None, whole.base) == (False, None)
    assert bundle(mirror, tmp_path / "again", tmp_path / "1").manifest == delta


def test_a_delta_that_brings_nothing_says_so_and_can_be_taken(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    bundle(mirror, tmp_path / "1")
    take(far, tmp_path / "1")
    before = tree(far)
    report = bundle(mirror, tmp_path / "2", export(far, tmp_path / "held"))
    assert report.saving is not None
    assert report.saving.is_empty
    assert wheels_in(tmp_path / "2") == set()
    take(far, tmp_path / "2")
    assert tree(far) == before


def test_a_mirror_that_was_copied_by_other_means_is_known_by_its_own_manifest(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    bundle(mirror, tmp_path / "1")
    take(far, tmp_path / "1")
    (far / ".state/taken-bundles.json").unlink()
    (tmp_path / "carried-back.json").write_bytes((far / "manifest.json").read_bytes())
    near(mirror, SECOND)
    made = bundle(mirror, tmp_path / "2", tmp_path / "carried-back.json").manifest
    assert made.base == holdings_id(holdings_of_mirror(Mirror(far)).files)
    take(far, tmp_path / "2")
    assert wheels_in(far) == {"torch", "filelock", "numpy"}


def test_what_was_given_before_gets_a_new_number_for_who_took_others_since(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    first = bundle(mirror, tmp_path / "1").manifest
    near(mirror, SECOND)
    bundle(mirror, tmp_path / "2")
    take(far, tmp_path / "2")
    near(mirror, FIRST)
    assert bundle(mirror, tmp_path / "1-again").manifest.counter == first.counter
    with pytest.raises(IntegrityError, match="older"):
        take(far, tmp_path / "1-again")
    meant = bundle(mirror, tmp_path / "3", export(far, tmp_path / "held")).manifest
    assert (meant.id, meant.counter) == (first.id, 3)
    take(far, tmp_path / "3")


def test_a_bundle_says_what_it_holds_where_it_stands_and_what_its_base_has(tmp_path: Path) -> None:
    mirror = near(tmp_path / "near", FIRST)
    bundle(mirror, tmp_path / "1")
    near(mirror, SECOND)
    bundle(mirror, tmp_path / "2", tmp_path / "1")
    alone = open_source([str(tmp_path / "2")])
    with pytest.raises(UsageError) as caught:
        require_base(alone, alone.manifest.files)
    assert caught.value.code == "base-missing"
    assert caught.value.facts["base"] == open_source([str(tmp_path / "1")]).manifest.id
    assert [str(path).split("/")[-1] for path in named(caught.value)] == [
        "torch-2.4.0+cpu-py3-none-any.whl",
        "filelock-3.13-py3-none-any.whl",
    ]
    assert [file.path for file in holdings_of_source(alone).files] == ["whl/numpy-2.0-py3-none-any.whl"]
    both = open_source([str(tmp_path / "1"), str(tmp_path / "2")])
    require_base(both, both.manifest.files)
    assert len(holdings_of_source(both).files) == 3
    near(mirror, THIRD)
    write_holdings(tmp_path / "held", holdings_of_source(both))
    assert wheels_in_bundle(bundle(mirror, tmp_path / "3", tmp_path / "held")) == {"triton"}


def named(error: PytorchOfflineError) -> list[object]:
    missing = error.facts["missing"]
    assert isinstance(missing, list)
    return missing


def wheels_in_bundle(report: BundleReport) -> set[str]:
    paths = [file.path for file in report.manifest.files if file.carried and file.path.endswith(".whl")]
    return {path.split("/")[-1].split("-")[0] for path in paths}


def test_a_mirrors_directory_is_read_without_its_libraries(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    bundle(mirror, tmp_path / "1")
    take(far, tmp_path / "1")
    assert read_mirror_holdings(str(far)) == holdings_of_mirror(Mirror(far))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad-since"),
        (b"torch==2.4.0\n", "bad-since"),
        (b"[]", "bad-since"),
        (b'{"format": 1}', "bad-since"),
        (b'{"kind": "holdings", "format": 1, "files": []}', "bad-holdings"),
        (b'{"kind": "bundle", "format": 1, "files": []}', "bad-manifest"),
        (b'{"format": 1, "files": [{"path": "../x"}]}', "bad-manifest"),
        (b"\x1f\x8bnot gzip", "bad-holdings"),
    ],
)
def test_what_does_not_say_what_a_far_side_holds_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(PytorchOfflineError) as caught:
        parse_since(body, name="held")
    assert caught.value.code == code


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_since(tmp_path / "none")


def test_nothing_of_the_far_side_but_paths_sizes_and_hashes_travels_back(tmp_path: Path) -> None:
    mirror, far = near(tmp_path / "near", FIRST), tmp_path / "far"
    bundle(mirror, tmp_path / "1")
    take(far, tmp_path / "1")
    document = json.loads(render_holdings(holdings_of_mirror(Mirror(far))))
    assert sorted(document) == ["bundles", "checksum", "files", "format", "kind"]
    assert all(len(row) == 3 for row in document["files"])
    assert str(datetime.now(UTC).year) not in json.dumps(document["bundles"][0][:1])


def test_the_whole_way_on_the_command_line(tmp_path: Path) -> None:
    near(tmp_path / "near", FIRST)
    run_tool("bundle", "--offline", "-o", "1", "--mirror", "near", cwd=tmp_path)
    run_tool("import", "1", "--mirror", "far", "--export-manifest", "held.json.gz", cwd=tmp_path)
    near(tmp_path / "near", SECOND)
    told = run_tool("bundle", "--offline", "-o", "2", "--since", "held.json.gz", "--mirror", "near", cwd=tmp_path)
    assert "a delta: " in told.stdout
    assert "pytorch-offline import 2 --mirror" in told.stdout
    brought = run_json("import", "2", "--mirror", "far", cwd=tmp_path)["brought"]
    assert [row["path"] for row in brought] == ["whl/numpy-2.0-py3-none-any.whl"]
    again = run_json("bundle", "--offline", "-o", "3", "--since", "2", "--mirror", "near", cwd=tmp_path)
    assert again["left_out"]["files"] >= 3  # and a pip, where this Python brings one
    wrong = run_json(
        "bundle", "--offline", "-o", "4", "--since", "near/locks/node.json", "--mirror", "near", cwd=tmp_path, expect=2
    )
    assert wrong["error"]["code"] == "bad-since"
