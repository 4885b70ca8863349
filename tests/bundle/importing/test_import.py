"""A bundle is merged into a mirror: what is lacking comes, proved; what a delta is laid upon must be there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytorch_offline.bundle.format.holdings import holdings_id
from pytorch_offline.bundle.importing import staging
from pytorch_offline.bundle.importing.plan import holdings_of
from pytorch_offline.bundle.importing.run import ImportReport, ImportRules, import_bundle
from pytorch_offline.bundle.reading.opening import open_source
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from tests.bundle.importing.editions import Edition, wheels
from tests.mirror.power import leftovers
from tests.mirror.wheels import craft_wheel, now, tree

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.bundle.reading.sources import Source

TORCH, SYMPY, NUMPY, TRITON = wheels("cpu/torch-1.0+cpu", "sympy-1.2", "numpy-2.0", "triton-3.0")
FIRST = Edition(wheels=(TORCH, SYMPY))
SECOND = Edition(wheels=(TORCH, SYMPY, NUMPY), counter=2)
THIRD = Edition(wheels=(TORCH, NUMPY, TRITON, SYMPY), counter=3)


def merge(root: Path, source: Source, *, dry_run: bool = False, **rules: bool) -> ImportReport:
    return import_bundle(Mirror(root), source, rules=ImportRules(**rules), dry_run=dry_run, now=now)


def refused(root: Path, source: Source, **rules: bool) -> PytorchOfflineError:
    """Import what must be refused, and see that nothing changed."""
    before = tree(root)
    with pytest.raises(PytorchOfflineError) as caught:
        merge(root, source, **rules)
    assert tree(root) == before
    return caught.value


def findings(error: PytorchOfflineError) -> list[dict[str, object]]:
    found = error.data["findings"]
    assert isinstance(found, list)
    return found


def check_mirror(root: Path) -> None:
    """See that all is as it should be and nothing is left behind."""
    assert not verify_mirror(Mirror(root), deep=True, now=now).findings
    assert leftovers(root) <= {"taken-bundles.json"}


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


def test_a_whole_bundle_makes_a_mirror(tmp_path: Path, far: Path) -> None:
    report = merge(far, FIRST.write(tmp_path / "bundle"))
    assert [str(row.path) for row in report.brought] == sorted(str(wheel.path) for wheel in FIRST.wheels)
    assert report.size == sum(len(wheel.body) for wheel in FIRST.wheels)
    assert report.locks == ("requirements.node.txt",)
    rows = Mirror(far).read_published()
    assert rows[TORCH.path].upload_time == "2026-01-02T03:04:05Z"
    assert rows[TORCH.path].origin == f"https://upstream.example/{TORCH.path}"
    assert tree(far)["locks/requirements.node.txt"] == FIRST.bodies["locks/requirements.node.txt"]
    check_mirror(far)


def test_volumes_in_any_directories_make_the_same_mirror(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "plain"))
    merge(tmp_path / "other", FIRST.write_volumes(tmp_path / "volumes"))
    assert tree(far) == tree(tmp_path / "other")
    check_mirror(tmp_path / "other")


def test_base_and_deltas_make_the_mirror_that_the_last_bundle_makes(tmp_path: Path, far: Path) -> None:
    changed = {str(TORCH.path): {"yanked": "broken", "hash_origin": "computed"}}
    third = replace(THIRD, rows=changed)
    merge(far, FIRST.write(tmp_path / "1"))
    merge(far, SECOND.after(FIRST).write(tmp_path / "2"))
    report = merge(far, third.after(SECOND).write_volumes(tmp_path / "3"))
    assert [row.path for row in report.brought] == [TRITON.path]
    assert (report.there, report.restated, report.beyond) == (3, 1, 0)
    merge(tmp_path / "full", third.write(tmp_path / "all"))
    assert tree(far) == tree(tmp_path / "full")
    assert Mirror(far).read_published()[TORCH.path].yanked == "broken"
    check_mirror(far)


def test_a_delta_that_is_imported_again_changes_nothing(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    delta = SECOND.after(FIRST).write(tmp_path / "2")
    merge(far, delta)
    before = tree(far)
    report = merge(far, delta)
    assert report.again
    assert report.brought == ()
    assert report.locks == ()
    assert tree(far) == before


def test_a_delta_after_one_that_was_left_out_is_refused_with_both_ids(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    error = refused(far, THIRD.after(SECOND).write(tmp_path / "3"))
    assert isinstance(error, UsageError)
    assert error.code == "other-delta-base"
    assert error.facts["base of the delta"] == SECOND.manifest().id
    assert FIRST.manifest().id in str(error.facts["bundle taken last"])


def test_a_delta_for_another_base_comes_in_by_content_if_nothing_is_lacking(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    lacking = THIRD.after(SECOND).write(tmp_path / "3")
    error = refused(far, lacking, base_by_content=True)
    assert error.code == "delta-incomplete"
    assert error.facts["missing"] == [str(NUMPY.path)]
    stranger = Edition(wheels=(TORCH, SYMPY, TRITON), counter=4).after(Edition(wheels=(TORCH, SYMPY), lineage="b" * 64))
    merge(far, stranger.write(tmp_path / "4"), base_by_content=True)
    check_mirror(far)


def test_a_delta_beside_its_base_is_a_whole_bundle(tmp_path: Path, far: Path) -> None:
    FIRST.write(tmp_path / "1")
    SECOND.after(FIRST).write(tmp_path / "2")
    merge(far, open_source([str(tmp_path / "1"), str(tmp_path / "2")]))
    assert sorted(Mirror(far).read_published()) == sorted(wheel.path for wheel in SECOND.wheels)
    check_mirror(far)


def test_a_mirror_that_took_no_bundle_is_known_by_what_it_holds(tmp_path: Path, far: Path) -> None:
    mirror = Mirror(far)
    for wheel in FIRST.wheels:
        wheel.admit(mirror)
    mirror.publish()
    base = holdings_id(holdings_of(mirror.read_published().values()))
    delta = replace(SECOND.after(FIRST), base=base)
    merge(far, delta.write(tmp_path / "2"))
    assert NUMPY.path in mirror.read_published()
    check_mirror(far)


def test_what_was_pruned_is_named_when_a_delta_leaves_it_out(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    (far / "locks/requirements.node.txt").unlink()
    Mirror(far).remove([SYMPY.path], now=now)
    error = refused(far, SECOND.after(FIRST).write(tmp_path / "2"))
    assert error.code == "delta-incomplete"
    assert error.facts["missing"] == [str(SYMPY.path)]


def test_an_older_bundle_is_refused_unless_told(tmp_path: Path, far: Path) -> None:
    merge(far, SECOND.write(tmp_path / "2"))
    first = FIRST.write(tmp_path / "1")
    assert refused(far, first).code == "older-bundle"
    assert merge(far, first, allow_older=True).beyond == 1
    assert refused(far, replace(SECOND, wheels=(TORCH,)).write(tmp_path / "other")).code == "forked-lineage"


def test_another_lineage_is_told_and_remembered_beside(tmp_path: Path, far: Path) -> None:
    merge(far, SECOND.write(tmp_path / "2"))
    other = replace(FIRST, lineage="b" * 64).write(tmp_path / "b")
    assert "b" * 64 in (merge(far, other).note or "")
    assert merge(far, other).note is None
    assert refused(far, FIRST.write(tmp_path / "1")).code == "older-bundle"


def test_other_bytes_under_a_name_that_is_held_are_reported_with_both_hashes(tmp_path: Path, far: Path) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    other = craft_wheel(str(SYMPY.path), content="something else")
    error = refused(far, Edition(wheels=(TORCH, other, NUMPY), counter=2).write(tmp_path / "2"))
    assert isinstance(error, IntegrityError)
    assert error.code == "path-conflict"
    assert SYMPY.sha256 in str(error.facts["files"])
    assert other.sha256 in str(error.facts["files"])
    assert not (far / NUMPY.path).exists()


@pytest.mark.parametrize("how", ["flipped", "short", "long", "gone"])
def test_damage_is_found_before_anything_is_admitted_and_what_came_is_kept(tmp_path: Path, far: Path, how: str) -> None:
    merge(far, FIRST.write(tmp_path / "1"))
    source = THIRD.write(tmp_path / "3")
    place = tmp_path / "3" / TRITON.path
    sound = place.read_bytes()
    if how == "gone":
        place.unlink()
    else:
        damaged = {"flipped": bytes([sound[0] ^ 1]) + sound[1:], "short": sound[:-1], "long": sound + b"x"}[how]
        place.write_bytes(damaged)
    error = refused(far, source)
    assert error.code == "bundle-damaged"
    assert [finding["path"] for finding in findings(error)] == [str(TRITON.path)]
    assert not (far / NUMPY.path).exists()
    place.write_bytes(sound)
    (tmp_path / "3" / NUMPY.path).unlink()  # it came already, and is not asked for again
    merge(far, source)
    check_mirror(far)


def test_a_damaged_volume_is_named(tmp_path: Path, far: Path) -> None:
    source = FIRST.write_volumes(tmp_path / "v")
    piece = source.manifest.file_at(str(SYMPY.path)).pieces[1]
    place = tmp_path / "v" / f"volume-{piece.volume:03d}" / piece.name
    sound = place.read_bytes()
    place.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
    error = refused(far, source)
    assert [(finding["path"], finding["volume"]) for finding in findings(error)] == [(str(SYMPY.path), piece.volume)]
    again = tmp_path / "brought-again" / place.name
    again.parent.mkdir()
    again.write_bytes(sound)
    merge(far, open_source([str(tmp_path / "v"), str(again.parent)]))
    check_mirror(far)


@pytest.mark.parametrize("locks_last", [False, True])
def test_discs_can_be_put_in_one_after_another(tmp_path: Path, far: Path, *, locks_last: bool) -> None:
    """Each volume lies in the one drive for a while, in an order that is nobody's."""
    made = FIRST.write_volumes(tmp_path / "v").manifest
    drive = tmp_path / "drive"
    locks = {piece.volume for file in made.files if file.path.startswith("locks/") for piece in file.pieces}
    order = sorted(range(1, made.volumes + 1), key=lambda volume: ((volume in locks) is locks_last, -volume))
    for number in order:
        shutil.copytree(tmp_path / "v" / f"volume-{number:03d}", drive)
        if number != order[-1]:
            assert refused(far, open_source([str(drive)])).code == "bundle-damaged"
        else:
            merge(far, open_source([str(drive)]))
        shutil.rmtree(drive)
    check_mirror(far)


def test_a_medium_that_is_pulled_out_is_told_file_by_file(
    tmp_path: Path, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FIRST.write(tmp_path / "1")

    def pulled_out(path: str) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patched:
        patched.setattr(staging, "open_regular", pulled_out)
        error = refused(far, source)
    assert error.code == "bundle-damaged"
    assert os.strerror(errno.EIO) in str(error.sections)
    assert "nothing was imported" in error.message
    merge(far, source)
    check_mirror(far)


def test_a_lock_that_the_mirror_could_not_serve_is_refused(tmp_path: Path, far: Path) -> None:
    locks = {"locks/requirements.node.txt": f"sympy==1.2 --hash=sha256:{'0' * 64}\n".encode()}
    error = refused(far, replace(FIRST, locks=locks).write(tmp_path / "1"))
    assert error.code == "bad-lock"


def test_room_is_looked_for_before_anything_comes(tmp_path: Path, far: Path) -> None:
    source = FIRST.write(tmp_path / "1")
    with pytest.raises(UpstreamError) as caught:
        import_bundle(Mirror(far), source, now=now, free=lambda _: 1000)
    assert caught.value.code == "disk-full"
    assert not (far / ".state/partial").exists()


def test_a_dry_run_says_what_would_come_and_changes_nothing(tmp_path: Path, far: Path) -> None:
    source = FIRST.write(tmp_path / "1")
    report = merge(far, source, dry_run=True)
    assert len(report.brought) == 2
    assert report.locks == ("requirements.node.txt",)
    assert not far.exists()


def test_the_same_bytes_under_two_paths_come_once_and_are_stored_once(tmp_path: Path, far: Path) -> None:
    twin = replace(TORCH, path=TORCH.path.parent.parent / "cu121" / TORCH.path.name)
    merge(far, Edition(wheels=(TORCH, twin)).write(tmp_path / "1"))
    assert (far / TORCH.path).samefile(far / twin.path)
    third = replace(TORCH, path=TORCH.path.parent.parent / "cu126" / TORCH.path.name)
    edition = Edition(wheels=(TORCH, twin, third)).after(Edition(wheels=(TORCH, twin)))
    report = merge(far, edition.write(tmp_path / "2"))
    assert (len(report.brought), report.size) == (1, 0)
    assert (far / TORCH.path).samefile(far / third.path)
    check_mirror(far)


def test_twins_come_where_no_file_can_have_two_names(
    tmp_path: Path, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytorch_offline.mirror.disk.Disk.link", lambda *_: False)
    twin = replace(TORCH, path=TORCH.path.parent.parent / "cu121" / TORCH.path.name)
    third = replace(TORCH, path=TORCH.path.parent.parent / "cu126" / TORCH.path.name)
    merge(far, Edition(wheels=(TORCH, twin)).write(tmp_path / "1"))
    merge(far, Edition(wheels=(TORCH, twin, third)).after(Edition(wheels=(TORCH, twin))).write(tmp_path / "2"))
    assert not (far / TORCH.path).samefile(far / third.path)
    check_mirror(far)


def test_a_wheel_that_went_missing_here_is_brought_again(tmp_path: Path, far: Path) -> None:
    source = FIRST.write(tmp_path / "1")
    merge(far, source)
    before = tree(far)
    (far / SYMPY.path).unlink()
    assert [row.path for row in merge(far, source).brought] == [SYMPY.path]
    assert tree(far) == before
    check_mirror(far)


def test_the_milestone_says_which_bundle_was_taken(tmp_path: Path, far: Path) -> None:
    source = FIRST.write(tmp_path / "1")
    merge(far, source)
    imported = Mirror(far).milestones.read().imported
    assert imported is not None
    assert (imported.bundle, imported.counter, imported.brought) == (source.manifest.id, 1, 2)
    assert imported.ended == now()
    memory = json.loads((far / ".state/taken-bundles.json").read_text())
    assert list(memory["taken"]) == [source.manifest.lineage]
