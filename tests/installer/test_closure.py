from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.installer.closure import Closure, walk_closure, whole_lock
from tests.installer.crafted import linux_target
from tests.installer.test_fitness import lock_of, metadata_of

if TYPE_CHECKING:
    from pytorch_offline.wheels.metadata import CoreMetadata

NAMES = "abcdef"
LOCK = lock_of(*(f"{name}-1.0-py3-none-any.whl" for name in NAMES))


def walk(*roots: str, **metadata: CoreMetadata) -> Closure:
    known = {canonicalize_name(name): value for name, value in metadata.items()}
    environment = linux_target().marker_environment
    return walk_closure([Requirement(root) for root in roots], LOCK, known, environment, {})


def test_only_what_is_needed_comes_along() -> None:
    closure = walk("a", a=metadata_of("a", "Requires-Dist: b"), b=metadata_of("b", "Requires-Dist: c>=1"))
    assert closure == Closure(projects=tuple(map(canonicalize_name, "abc")), gaps=())


def test_extras_bring_their_own_and_add_up() -> None:
    extra = ("Provides-Extra: x", 'Requires-Dist: b; extra == "x"', "Requires-Dist: c[y]")
    more = ("Provides-Extra: y", 'Requires-Dist: d; extra == "y"', 'Requires-Dist: e; extra == "z"')
    metadata = {"a": metadata_of("a", *extra), "c": metadata_of("c", *more)}
    assert walk("a", **metadata).projects == ("a", "c", "d")
    assert walk("c", "a[X]", **metadata).projects == ("a", "b", "c", "d")


def test_markers_are_the_destination_s() -> None:
    lines = ('Requires-Dist: b; platform_system == "Linux"', 'Requires-Dist: c; python_version >= "3.11"')
    assert walk("a", a=metadata_of("a", *lines)).projects == ("a", "b")


def test_what_the_lock_lacks_is_named_with_who_needs_it() -> None:
    closure = walk("a", "zlib>=3", "b==2.0", a=metadata_of("a", "Requires-Dist: c>=7", "Requires-Dist: missing"))
    assert {str(gap) for gap in closure.gaps} == {
        "you ask for zlib>=3, which is missing",
        "you ask for b==2.0, which is 1.0 here",
        "a needs c>=7, which is 1.0 here",
        "a needs missing, which is missing",
    }


@given(
    st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(NAMES)), max_size=6), st.permutations(NAMES)
)
def test_the_walk_ends_and_its_order_does_not_matter(graph: dict[str, frozenset[str]], order: list[str]) -> None:
    metadata = {
        name: metadata_of(name, *(f"Requires-Dist: {to}" for to in sorted(graph.get(name, ())))) for name in order
    }
    closure = walk("a", **metadata)
    reached = {"a"}
    while grown := {to for name in reached for to in graph.get(name, ())} - reached:
        reached |= grown
    assert set(closure.projects) == reached
    assert not closure.gaps


def test_a_whole_lock_needs_all_of_itself() -> None:
    assert [root.name for root in whole_lock(LOCK)] == list(NAMES)
