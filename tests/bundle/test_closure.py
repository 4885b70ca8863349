from __future__ import annotations

from packaging.utils import canonicalize_name
from packaging.version import Version

from pytorch_offline.bundle.format.model import Missing
from pytorch_offline.bundle.writing.closure import LockClosure, find_closure
from pytorch_offline.wheels.metadata import CoreMetadata, parse_metadata
from tests.installer.crafted import linux_target

ENVIRONMENT = linux_target("3.10.12").marker_environment


def metadata_of(name: str, *lines: str) -> CoreMetadata:
    return parse_metadata("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines, ""]).encode())


def closure(**wheels: tuple[str, ...]) -> LockClosure:
    locked = {canonicalize_name(name): Version("1.0") for name in wheels}
    metadata = {canonicalize_name(name): metadata_of(name, *lines) for name, lines in wheels.items()}
    return find_closure(locked, metadata, ENVIRONMENT)


def test_a_wheel_needs_what_its_markers_ask_for_on_the_target() -> None:
    found = closure(
        a=("Requires-Dist: b", 'Requires-Dist: c; sys_platform == "win32"', "Requires-Dist: a[x]"),
        b=('Requires-Dist: c; extra == "x"',),
        c=(),
    )
    assert found.needs == {"a": ("b",), "b": (), "c": ()}
    assert not found.missing


def test_an_extra_counts_where_a_wheel_of_the_lock_asks_for_it() -> None:
    found = closure(a=("Requires-Dist: b[x]",), b=('Requires-Dist: c; extra == "x"', "Provides-Extra: x"), c=())
    assert found.needs == {"a": ("b",), "b": ("c",), "c": ()}


def test_what_the_lock_does_not_hold_is_missing() -> None:
    found = closure(a=("Requires-Dist: d>=2",), b=("Requires-Dist: a>=3",))
    assert found.missing == (
        Missing(project="a", requirement="a>=3", required_by="b"),
        Missing(project="d", requirement="d>=2", required_by="a"),
    )


def test_what_the_closure_does_not_hang_on_is_left_out() -> None:
    found = closure(
        a=('Requires-Dist: b; sys_platform == "win32"', 'Requires-Dist: b; python_full_version >= "3.10.5"'), b=()
    )
    # b is held whatever the markers say; it is needed by a where the second one holds
    assert found.needs == {"a": ("b",), "b": ()}
    assert found.markers == {}


def test_a_marker_that_would_ask_for_more_names_the_values_that_do_not() -> None:
    found = closure(a=('Requires-Dist: missing; sys_platform == "win32"',))
    assert "win32" not in found.markers["sys_platform"]
    assert {"linux", "darwin"} <= set(found.markers["sys_platform"])


def test_a_need_that_arises_elsewhere_forbids_that_value() -> None:
    found = closure(a=('Requires-Dist: b; platform_machine == "odd"',), b=())
    assert "odd" not in found.markers["platform_machine"]
    assert "x86_64" in found.markers["platform_machine"]


def test_patch_releases_are_tried_one_by_one() -> None:
    found = closure(a=('Requires-Dist: missing; python_full_version < "3.10.4"', "Requires-Python: !=3.10.7,>=3.6"))
    versions = found.markers["python_full_version"]
    assert {"3.10.4", "3.10.6", "3.10.8", "3.10.12", "3.10.60"} <= set(versions)
    assert not {"3.10.0", "3.10.3", "3.10.7"} & set(versions)


def test_a_full_version_of_the_implementation_is_the_same_number() -> None:
    found = closure(a=('Requires-Dist: missing; implementation_version < "3.10.4"',))
    assert "3.10.3" not in found.markers["implementation_version"]
    assert "3.10.4" in found.markers["implementation_version"]


def test_a_python_that_every_patch_release_satisfies_is_left_out() -> None:
    assert closure(a=("Requires-Python: >=3.8",)).markers == {}


def test_the_targets_own_odd_version_is_kept() -> None:
    environment = {**ENVIRONMENT, "python_full_version": "3.10.0rc1", "implementation_version": "3.10.0rc1"}
    metadata = {canonicalize_name("a"): metadata_of("a", 'Requires-Dist: x; python_full_version > "3.10.5"')}
    found = find_closure({canonicalize_name("a"): Version("1.0")}, metadata, environment)
    assert "3.10.0rc1" in found.markers["python_full_version"]
    assert "3.10.6" not in found.markers["python_full_version"]


def test_a_release_of_the_kernel_counts_only_where_a_marker_looks_at_it() -> None:
    environment = {**ENVIRONMENT, "platform_release": "5.15.0-91-generic"}
    locked = {canonicalize_name("a"): Version("1.0")}
    looks = {canonicalize_name("a"): metadata_of("a", 'Requires-Dist: x; platform_release == "99.9.9"')}
    found = find_closure(locked, looks, environment)
    assert "5.15.0-91-generic" in found.markers["platform_release"]
    assert "99.9.9" not in found.markers["platform_release"]
