"""What leaves a mirror and what stays: the rules, and what they are told of a mirror on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from pytorch_offline.mirror.needs import meet, sees
from pytorch_offline.mirror.pins import NOTHING_PINNED, parse_pins
from pytorch_offline.mirror.pruning import carry_out, evict, plan_pruning
from pytorch_offline.mirror.retention import HeldFile, Policy, Retention, Why, plan_retention
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.uses import Uses
from pytorch_offline.mirror.verify import verify_mirror
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.mirror.wheels import SYMPY, TORCH_CPU, TORCH_CUDA, Wheel, craft_wheel, tree

NOW = datetime(2026, 8, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def held(
    path: str,
    *requires: str,
    size: int = 10,
    age: float = 0,
    storage: str | None = None,
    requires_python: str | None = None,
) -> HeldFile:
    name = path if path.endswith(".whl") else f"{path}-py3-none-any.whl"
    file = MirrorFile(
        path=PurePosixPath("whl") / name,
        size=size,
        sha256=hashlib.sha256((storage or name).encode()).hexdigest(),
        hash_origin=HashOrigin.PUBLISHED,
        origin=f"https://upstream.example/whl/{name}",
        metadata_sha256="0" * 64,
        requires_python=requires_python,
        yanked=None,
        upload_time=None,
        verified_at="2026-08-22T12:00:00Z",
    )
    return HeldFile(
        file=file, used_at=NOW - age * DAY, storage=storage, requires=tuple(Requirement(one) for one in requires)
    )


def plan(files: list[HeldFile], policy: Policy, locks: dict[str, bytes] | None = None, *spared: str) -> Retention:
    spare = [PurePosixPath("whl") / one for one in spared]
    return plan_retention(files, policy, parse_pins(locks or {}), now=NOW, spared=spare)


def gone(retention: Retention) -> list[str]:
    return [verdict.file.path.name.removesuffix("-py3-none-any.whl") for verdict in retention.going]


def why(retention: Retention, name: str) -> Why:
    (found,) = (one.why for one in retention.verdicts if str(one.file.path).startswith(f"whl/{name}"))
    return found


def lock(*files: HeldFile) -> dict[str, bytes]:
    lines = [f"{one.name.project}=={one.name.version} --hash=sha256:{one.file.sha256}" for one in files]
    return {"requirements.node.txt": "\n".join(lines).encode()}


# By lock


def test_what_no_lock_names_goes() -> None:
    files = [held("torch-2.1"), held("torch-2.0"), held("sympy-1.2")]
    found = plan(files, Policy(locked=True), lock(files[1]))
    assert gone(found) == ["sympy-1.2", "torch-2.1"]
    assert (why(found, "torch-2.0"), why(found, "sympy")) == (Why.LOCKED, Why.NOT_LOCKED)


def test_a_lock_is_a_whole_closure() -> None:
    """Its wheels need on other machines what this lock does not name; nobody asked to keep that."""
    files = [held("torch-2.0", "triton ; platform_system == 'Linux'"), held("triton-3.0")]
    assert gone(plan(files, Policy(locked=True), lock(files[0]))) == ["triton-3.0"]


@pytest.mark.parametrize(
    "policy", [Policy(versions=1), Policy(unused_for=DAY), Policy(max_size=0), Policy(locked=True)]
)
def test_what_a_lock_names_never_goes(policy: Policy) -> None:
    files = [held("torch-2.1"), held("torch-2.0", age=400), held("torch-1.9", age=400)]
    assert "torch-2.0" not in gone(plan(files, policy, lock(files[1])))
    assert "torch-2.0" in gone(plan(files, policy, lock(files[0])))


def test_locks_and_versions_together_keep_both() -> None:
    files = [held("torch-2.2"), held("torch-2.1"), held("torch-2.0")]
    assert gone(plan(files, Policy(locked=True, versions=1), lock(files[2]))) == ["torch-2.1"]


# By version


def test_the_newest_versions_of_each_backend_stay() -> None:
    files = [
        held("cu121/torch-2.10.0+cu121"),
        held("cu121/torch-2.9.0+cu121-cp311-cp311-linux_x86_64.whl"),
        held("cu121/torch-2.9.0+cu121-cp312-cp312-linux_x86_64.whl"),
        held("cu121/torch-2.8.0+cu121"),
        held("cpu/torch-2.0.0+cpu"),
        held("sympy-1.2"),
    ]
    assert gone(plan(files, Policy(versions=2))) == ["torch-2.8.0+cu121"]
    assert len(gone(plan(files, Policy(versions=1)))) == 3


def test_what_a_kept_wheel_needs_stays_with_it() -> None:
    files = [
        held("cu124/torch-2.5+cu124", "cublas==12.4", "numpy", "opt-einsum ; extra == 'opt'", "triton>=3"),
        held("cu124/cublas-12.6"),
        held("cu124/cublas-12.4", "cudart<12.5"),
        held("cu124/cublas-12.1"),
        held("cudart-12.6"),
        held("cudart-12.4"),
        held("cudart-12.3"),
        held("numpy-2.0"),
        held("numpy-1.0"),
        held("opt_einsum-3.1"),
        held("opt_einsum-3.0"),
        held("cu118/triton-3.1"),
        held("cu118/triton-3.0"),
    ]
    found = plan(files, Policy(versions=1))
    assert gone(found) == ["triton-3.0", "cublas-12.1", "cudart-12.3", "numpy-1.0", "opt_einsum-3.0"]
    assert (why(found, "cu124/cublas-12.4"), why(found, "cudart-12.4")) == (Why.NEEDED, Why.NEEDED)


def test_a_wheel_needs_what_its_own_python_can_take() -> None:
    old, mid, new = (
        held(f"filelock-3.{minor}", requires_python=f">=3.{python}") for minor, python in ((1, 7), (2, 8), (3, 10))
    )
    torch = held("cu121/torch-2.4.0+cu121-cp38-cp38-linux_x86_64.whl", "filelock")
    assert gone(plan([torch, old, mid, new], Policy(versions=1))) == ["filelock-3.1"]
    torch = held("cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl", "filelock")
    assert gone(plan([torch, old, mid, new], Policy(versions=1))) == ["filelock-3.1", "filelock-3.2"]
    for anyones in ("torch-2.4.0-cp38-abi3-linux_x86_64.whl", "jinja2-3.1", "torch-2.4.0-py3-none-linux_x86_64.whl"):
        assert gone(plan([held(anyones, "filelock"), old, mid, new], Policy(versions=1))) == []
    torch = held("cpu/torch-2.14.0-cp36-cp36m-win_amd64.whl", "filelock")
    assert gone(plan([torch, old, mid, new], Policy(versions=1))) == ["filelock-3.1", "filelock-3.2"]


def test_what_is_needed_by_way_of_a_locked_wheel_stays_too() -> None:
    safe38, safe310 = (held(f"markupsafe-{v}-cp{py}-cp{py}-linux_x86_64.whl") for v, py in (("2.1", 38), ("3.0", 310)))
    jinja, torch = held("jinja2-3.1", "markupsafe"), held("torch-2.4.0-cp38-cp38-linux_x86_64.whl", "jinja2")
    files = [safe38, safe310, jinja, torch]
    assert gone(plan(files, Policy(versions=1), lock(jinja, safe310))) == []
    assert gone(plan([safe38, safe310, jinja], Policy(locked=True), lock(jinja, safe310))) == [safe38.file.path.name]


def test_an_extra_counts_where_it_is_asked_for() -> None:
    files = [held("a-1", "b[fast]==1"), held("b-2"), held("b-1", "c==1 ; extra == 'fast'"), held("c-2"), held("c-1")]
    assert gone(plan(files, Policy(versions=1))) == []
    files[0] = held("a-1", "b==1")
    assert gone(plan(files, Policy(versions=1))) == ["c-1"]


def test_what_another_python_or_system_needs_is_not_needed() -> None:
    files = [
        held("torch-2.0-cp311-cp311-win_amd64.whl", "numpy==1"),
        held("numpy-2-cp311-cp311-win_amd64.whl"),
        held("numpy-1-cp311-cp311-win_amd64.whl"),
        held("numpy-1-cp311-cp311-manylinux_2_17_x86_64.whl"),
        held("numpy-1-cp310-cp310-win_amd64.whl"),
    ]
    assert gone(plan(files, Policy(versions=1))) == [
        "numpy-1-cp310-cp310-win_amd64.whl",
        "numpy-1-cp311-cp311-manylinux_2_17_x86_64.whl",
    ]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("py3-none-any", "cp311-cp311-win_amd64", True),
        ("cp38-abi3-manylinux_2_17_x86_64", "cp311-cp311-linux_x86_64", True),
        ("cp312-abi3-linux_x86_64", "cp311-cp311-linux_x86_64", False),
        ("cp311-cp311-linux_x86_64", "pp311-pypy311_pp73-linux_x86_64", False),
        ("cp311-cp311-manylinux2014_aarch64", "cp311-cp311-linux_x86_64", False),
        ("cp311-cp311-macosx_11_0_arm64", "cp311-cp311-macosx_10_9_universal2", True),
        ("cp311-cp311-macosx_11_0_arm64", "cp311-cp311-macosx_10_9_x86_64", False),
        ("cp311-cp311-manylinux1_x86_64", "py3-none-manylinux_2_27_x86_64", True),
        ("cp311-cp311-win_amd64", "cp311-cp311-win_arm64", False),
        ("cp311-cp311-musllinux_1_2_x86_64", "py3-none-win32", False),
    ],
)
def test_which_tags_meet_on_a_machine(one: str, other: str, together: bool) -> None:  # noqa: FBT001
    first, second = (parse_wheel_name(f"x-1-{tags}.whl").tags for tags in (one, other))
    assert meet(first, second) is meet(second, first) is together


def test_which_files_stand_on_one_page() -> None:
    root, cuda, cpu, nightly = map(PurePosixPath, ("whl", "whl/cu121", "whl/cpu", "whl/nightly/cu121"))
    assert sees(root, cuda)
    assert sees(cuda, root)
    assert sees(nightly, root)  # dependencies lie at stable's root
    assert not sees(cuda, cpu)
    assert not sees(cuda, nightly)


# By age, by size


def test_age_is_since_the_last_use() -> None:
    files = [held("a-1", age=10), held("b-1", age=1), held("c-1", age=-5), held("d-1", age=30, size=1)]
    assert gone(plan(files, Policy(unused_for=10 * DAY))) == ["a-1", "d-1"]
    assert gone(plan(files, Policy(unused_for=0 * DAY))) == ["a-1", "b-1", "d-1"]


def test_to_a_size_what_was_used_longest_ago_goes_first() -> None:
    files = [held("a-1", age=3), held("b-1", age=1), held("c-1", age=2)]
    assert gone(plan(files, Policy(max_size=30))) == []
    assert gone(plan(files, Policy(max_size=29))) == ["a-1"]
    assert gone(plan(files, Policy(max_size=10))) == ["a-1", "c-1"]
    found = plan(files, Policy(max_size=0))
    assert (found.size_before, found.size_after, len(found.going)) == (30, 0, 3)


def test_what_a_recently_used_file_needs_was_used_recently() -> None:
    files = [held("torch-2", "numpy", age=1), held("numpy-1", age=100), held("alone-1", age=50)]
    assert gone(plan(files, Policy(max_size=20))) == ["alone-1"]
    assert gone(plan(files, Policy(max_size=10))) == ["alone-1", "torch-2"]


def test_names_of_the_same_bytes_count_once_and_go_together() -> None:
    files = [held("cu118/x-1", storage="x", age=9), held("cu121/x-1", storage="x", age=1), held("y-1", age=5)]
    assert gone(plan(files, Policy(max_size=20))) == []
    assert gone(plan(files, Policy(max_size=10))) == ["y-1"]
    assert gone(plan(files, Policy(max_size=9))) == ["x-1", "x-1", "y-1"]


def test_a_name_stays_whose_bytes_stay_under_another() -> None:
    files = [held("cu118/x-1", "dep==1", storage="x"), held("cu121/x-1", storage="x"), held("cu118/dep-1", age=99)]
    found = plan(files, Policy(max_size=0), None, "cu121/x-1-py3-none-any.whl")
    assert gone(found) == []
    assert (why(found, "cu118/x"), why(found, "cu121/x"), why(found, "cu118/dep")) == (
        Why.SHARED, Why.IN_USE, Why.NEEDED,
    )  # fmt: skip


def test_every_rule_narrows_what_goes() -> None:
    files = [held("torch-3", age=50), held("torch-2", age=50), held("torch-1", age=5)]
    assert gone(plan(files, Policy(versions=1, unused_for=10 * DAY))) == ["torch-2"]
    assert gone(plan(files, Policy(versions=1, max_size=20))) == ["torch-2"]
    assert gone(plan(files, Policy(locked=True, max_size=20), lock(files[0]))) == ["torch-2"]
    assert gone(plan(files, Policy())) == []


NAMES = st.sampled_from([f"{project}-{version}" for project in "abcd" for version in (1, 2, 3)])
BOUNDS = st.sampled_from(["", "==1", ">=2", "<3"])
DIRECTORIES = st.sampled_from(["", "cpu/", "cu121/"])


@st.composite
def mirrors(draw: st.DrawFn) -> list[HeldFile]:
    """Files that need only what comes later in the alphabet, as no project needs itself."""
    found: dict[str, HeldFile] = {}
    for directory, name in draw(st.lists(st.tuples(DIRECTORIES, NAMES), max_size=12)):
        wishes = draw(st.lists(st.tuples(st.sampled_from("bcd"), BOUNDS), max_size=3))
        requires = [f"{project}{bound}" for project, bound in wishes if project > name[0]]
        storage = draw(st.sampled_from([None, name]))
        size = {"a": 7, "b": 11, "c": 13, "d": 17}[name[0]]
        age = draw(st.integers(0, 5))
        found[directory + name] = held(directory + name, *requires, size=size, age=age, storage=storage)
    return list(found.values())


POLICIES = st.builds(
    Policy,
    locked=st.booleans(),
    versions=st.none() | st.integers(1, 2),
    unused_for=st.none() | st.integers(0, 5).map(lambda days: days * DAY),
    max_size=st.none() | st.integers(0, 80),
)


def served(one: HeldFile, need: Requirement, files: list[HeldFile]) -> bool:
    return any(
        other.name.project == need.name
        and need.specifier.contains(other.name.version)
        and sees(one.file.path.parent, other.file.path.parent)
        for other in files
    )


@settings(max_examples=150)
@given(mirrors(), POLICIES, st.data())
def test_whatever_is_asked_for(files: list[HeldFile], policy: Policy, data: st.DataObject) -> None:
    locked = data.draw(st.lists(st.sampled_from(files), max_size=2)) if files else []
    found = plan(files, policy, lock(*locked))
    by_path = {one.file.path: one for one in files}
    stays = [by_path[verdict.file.path] for verdict in found.staying]
    goes = [by_path[verdict.file.path] for verdict in found.going]
    assert len(stays) + len(goes) == len(files)
    hashes = {one.file.sha256 for one in locked}
    assert not [one for one in goes if one.file.sha256 in hashes]
    # Who stays by another rule than a lock has what it had before.
    reasons = {verdict.file.path: verdict.why for verdict in found.verdicts}
    for one in stays:
        if reasons[one.file.path] is not Why.LOCKED:
            for need in one.requires:
                assert served(one, need, stays) or not served(one, need, files)
    assert found.size_before == sum({one.bytes_of: one.file.size for one in files}.values())
    assert found.size_after == sum({one.bytes_of: one.file.size for one in stays}.values())
    if not policy.asks:
        assert not goes
    if policy.max_size is not None:
        # No more went than had to: with the last group that went there would be too much.
        assert not goes or found.size_before > policy.max_size
        if found.size_after > policy.max_size:
            assert all(reasons[one.file.path] is not Why.FITS for one in stays)
    if policy.unused_for is not None:
        assert all(one.used_at <= NOW - policy.unused_for for one in goes)


# Locks


def test_every_way_in_which_a_lock_names_a_file() -> None:
    files = [held(f"{name}-1") for name in "abcdefgh"]
    locks = {
        "pylock.x.toml": (
            'lock-version = "1.0"\n[[packages]]\nname = "a"\n[[packages.wheels]]\n'
            'path = "../whl/a-1-py3-none-any.whl"\n'
            f'hashes = {{sha256 = "{files[0].file.sha256}"}}\n'
            '[[packages]]\nname = "b"\n[[packages.wheels]]\nurl = "https://h/x/b-1-py3-none-any.whl?q=1"\n'
            'hashes = {sha512 = "00"}\n[[packages]]\nname = "c"\nversion = "1"\n'
        ).encode(),
        "requirements.y.txt": (
            "# a comment\n--index-url https://h/simple\nd>=1 \\\n  ; python_version > '3'\n"
            f"other==9 \\\n  --hash=sha256:{'9' * 64} \\\n  --hash=sha256:{files[4].file.sha256}\n"
            "f @ https://h/whl/f-1-py3-none-any.whl ; python_version > '3'\n../whl/g-1-py3-none-any.whl\n-r other.txt\n"
        ).encode(),
        "other.txt": b"",
        "node.json": b"{",
        "notes": b"\xff",
    }
    found = plan(files, Policy(locked=True), locks)
    assert gone(found) == ["h-1"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("pylock.x.toml", b"[[packages]\n"),
        ("pylock.x.toml", b"\xff"),
        ("pylock.x.toml", b'packages = ["a"]'),
        ("pylock.x.toml", b"[[packages]]\nwheels = [{}]"),
        ("pylock.x.toml", b"[[packages]]\n"),
        ("requirements.x.txt", b"-r elsewhere.txt"),
        ("requirements.x.txt", b"-e ."),
        ("requirements.x.txt", b"torch=2"),
        ("requirements.x.txt", b"\xff\xfe\x00"),
    ],
)
def test_what_cannot_be_understood_keeps_everything(name: str, body: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_pins({name: body})
    assert caught.value.code == "bad-lock"


@given(st.dictionaries(st.sampled_from(["a.toml", "b.txt", "c.json"]), st.binary() | st.text().map(str.encode)))
def test_a_lock_is_understood_or_refused(locks: dict[str, bytes]) -> None:
    try:
        parse_pins(locks)
    except IntegrityError as error:
        assert error.code == "bad-lock"  # noqa: PT017  (anything else would be raised)


def test_no_lock_pins_nothing() -> None:
    assert parse_pins({}) == NOTHING_PINNED


# On disk

OLD = craft_wheel("whl/cpu/torch-0.9+cpu-py3-none-any.whl", requires=("sympy<1.2",))
OLD_SYMPY = craft_wheel("whl/sympy-1.1-py3-none-any.whl")


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    mirror = Mirror(tmp_path / "mirror")
    with mirror.lock():
        for age, wheel in enumerate((TORCH_CPU, TORCH_CUDA, SYMPY, OLD, OLD_SYMPY)):
            wheel.admit(mirror)
            moment = (NOW - age * DAY).timestamp()
            os.utime(mirror.root / wheel.path, (moment, moment))
        mirror.publish(now=lambda: NOW)
    return mirror


def pruned(mirror: Mirror, policy: Policy, leftovers: timedelta | None = None) -> list[str]:
    pruning = plan_pruning(mirror, policy, leftovers=leftovers, now=NOW)
    before = sum(path.stat().st_size for path in mirror.root.rglob("*.whl"))
    carry_out(mirror, pruning, now=lambda: NOW)
    assert before - sum(path.stat().st_size for path in mirror.root.rglob("*.whl")) == pruning.bytes_freed
    assert verify_mirror(mirror, now=lambda: NOW).findings == ()
    return [path.name for path in pruning.paths]


def test_old_versions_go_from_the_disk(mirror: Mirror) -> None:
    assert pruned(mirror, Policy(versions=1)) == [OLD.path.name, OLD_SYMPY.path.name]


def test_a_kept_version_keeps_what_its_metadata_needs(mirror: Mirror) -> None:
    (mirror.root / "locks").mkdir()
    mirror.remove([TORCH_CPU.path], now=lambda: NOW)  # so that the old torch is its backend's newest
    assert pruned(mirror, Policy(versions=1)) == []


def test_a_wheel_whose_metadata_is_lost_stops_it(mirror: Mirror) -> None:
    (mirror.root / sidecar_of(OLD.path)).unlink()
    with pytest.raises(IntegrityError) as caught:
        plan_pruning(mirror, Policy(versions=1), now=NOW)
    assert caught.value.code == "metadata-missing"


def test_without_any_lock_locks_are_no_rule(mirror: Mirror) -> None:
    with pytest.raises(UsageError) as caught:
        plan_pruning(mirror, Policy(locked=True), now=NOW)
    assert caught.value.code == "no-locks"


def test_age_is_the_files_own_until_somebody_notes_a_use(mirror: Mirror) -> None:
    uses = Uses(mirror.state)
    uses.touch(OLD_SYMPY.path, NOW)
    uses.touch(PurePosixPath("whl/cpu/gone-1-py3-none-any.whl"), NOW)
    uses.save()
    assert pruned(mirror, Policy(unused_for=2.5 * DAY)) == [OLD.path.name]
    assert Uses(mirror.state).read() == {OLD_SYMPY.path: NOW}  # what is not held any more is forgotten


def test_a_gateway_makes_room(mirror: Mirror) -> None:
    sizes = [len(wheel.body) for wheel in (TORCH_CPU, TORCH_CUDA, OLD)]
    (mirror.root / sidecar_of(OLD.path)).unlink()  # it does not ask what files need
    found = evict(mirror, max_size=sum(sizes) + 10, spared={OLD.path}, now=lambda: NOW)
    assert [path.name for path in found.paths] == [OLD_SYMPY.path.name, SYMPY.path.name]
    assert evict(mirror, max_size=10**9, now=lambda: NOW).paths == ()


def test_bytes_with_another_name_are_not_freed(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    twin = Wheel(path=PurePosixPath("whl/cu121") / SYMPY.path.name, body=SYMPY.body, metadata=SYMPY.metadata)
    with mirror.lock():
        for wheel in (SYMPY, twin, TORCH_CPU):
            wheel.admit(mirror)
        mirror.publish()
    (mirror.root / "elsewhere").hardlink_to(mirror.root / TORCH_CPU.path)  # as a bundle beside it has it
    pruning = plan_pruning(mirror, Policy(max_size=0), now=NOW)
    assert len(pruning.paths) == 3
    assert pruning.bytes_freed == len(SYMPY.body)
    assert pruning.retention.size_before == len(SYMPY.body) + len(TORCH_CPU.body)


def test_leftovers_go_when_nobody_went_on_with_them(mirror: Mirror) -> None:
    old, young = (NOW - 40 * DAY).timestamp(), NOW.timestamp()
    places = {
        "partial/a.part": old, "partial/a.part.json": old,
        "partial/b.part": old, "partial/b.part.json": young,
        "partial/c.part": young,
        "rejected/x.whl": old, "rejected/x.whl.json": young,
        "rejected/y.whl": old, "rejected/y.whl.json": old,
        "rejected/z.whl.json": old,
    }  # fmt: skip
    for name, moment in places.items():
        place = mirror.state / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"12345")
        os.utime(place, (moment, moment))
    found = plan_pruning(mirror, Policy(), leftovers=30 * DAY, now=NOW)
    went = {"partial/a.part", "partial/a.part.json", "rejected/y.whl", "rejected/y.whl.json", "rejected/z.whl.json"}
    assert {str(one.path) for one in found.leftovers} == {f".state/{name}" for name in went}
    assert (found.paths, found.bytes_freed) == ((), 5 * len(went))
    carry_out(mirror, found, now=lambda: NOW)
    assert {name for name in places if (mirror.state / name).exists()} == places.keys() - went
    assert plan_pruning(mirror, Policy(), leftovers=30 * DAY, now=NOW).leftovers == ()


def test_looking_changes_nothing_and_works_where_nothing_can_be_written(mirror: Mirror) -> None:
    shutil.rmtree(mirror.state)
    before = tree(mirror.root)
    assert len(plan_pruning(mirror, Policy(max_size=0), leftovers=DAY, now=NOW).paths) == 5
    assert tree(mirror.root) == before
    assert not mirror.state.exists()


# Uses


def test_uses_are_kept_whole_and_the_newest_counts(tmp_path: Path) -> None:
    first, second = Uses(tmp_path), Uses(tmp_path)
    path, other = PurePosixPath("whl/a.whl"), PurePosixPath("whl/b.whl")
    first.touch(path, NOW)
    second.touch(path, NOW - DAY)
    second.touch(other, NOW)
    first.save()
    second.save()
    assert Uses(tmp_path).read() == {path: NOW, other: NOW}
    (tmp_path / "uses.json").write_text(json.dumps({"format": 2, "used": {}}))
    assert Uses(tmp_path).read() == {}
    (tmp_path / "uses.json").write_bytes(b"{")
    assert Uses(tmp_path).read() == {}
    Uses(tmp_path / "nowhere").save()
