"""The damage campaign: everything that may happen to a bundle on its way, in every kind of file, some 800 cases.

Each case knows what it did, and so what must be said of it: that something is wrong, before anything is installed, with
the name of the very file; and whether the rest suffices to mend it, to the last byte. By hand::

    python -m tests.bundle.damage [--only WORD]
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.bundle.format.manifest import MANIFEST_NAME, SIGNATURE_NAME, parse_manifest, render_manifest
from pytorch_offline.errors import IntegrityError, PytorchOfflineError, UsageError
from pytorch_offline.installer.model import Context, Request
from pytorch_offline.installer.steps import carry_out
from tests.bundle.damage_bundles import KINDS, Kind, allowed_signers, make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Put there by this campaign, or by a repair that had to make way.
_BESIDE = (".moved", ".in-the-way", " (1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that happens to one bundle.

    Args:
        kind: of the bundle.
        what: what happens.
        member: to what, from the bundle's top.
        damage: does it: gets the bundle, the member's path, and chance.
        named: what must be named, any of them; empty for what does no harm.
        mended: whether what is left suffices; None where that is not asked.
        blocks: whether nothing may be installed with it.
        codes: with which exit codes.
    """

    kind: Kind
    what: str
    member: str
    damage: Callable[[Path, Path, random.Random], object]
    named: tuple[str, ...]
    mended: bool | None
    blocks: bool = True
    codes: tuple[int, ...] = (IntegrityError.exit_code,)

    def __str__(self) -> str:
        return f"{self.kind}: {self.member} {self.what}"


# ---- what happens to a file


def _flip(where: str) -> Callable[[Path, Path, random.Random], None]:
    def damage(_: Path, path: Path, chance: random.Random) -> None:
        body = bytearray(path.read_bytes())
        at = {"first": 0, "last": len(body) - 1, "some": chance.randrange(len(body))}[where]
        body[at] ^= 1 << chance.randrange(8)
        path.write_bytes(body)

    return damage


def _cut(share: float, less: int = 0) -> Callable[[Path, Path, random.Random], None]:
    def damage(_: Path, path: Path, __: random.Random) -> None:
        os.truncate(path, int(path.stat().st_size * share) - less)

    return damage


def _append(_: Path, path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(1))


def _remove(_: Path, path: Path, __: random.Random) -> None:
    path.unlink()


def _rename(_: Path, path: Path, __: random.Random) -> None:
    path.rename(path.with_name(path.name + ".moved"))


def _duplicate(_: Path, path: Path, __: random.Random) -> None:
    shutil.copy(path, path.with_name(f"{path.stem} (1){path.suffix}"))


def _become_directory(_: Path, path: Path, __: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _become_link(top: Path, path: Path, __: random.Random) -> None:
    outside = top.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def _become_older(top: Path, path: Path, __: random.Random) -> None:
    shutil.copy(top.parent / "older" / path.relative_to(top), path)


ON_FILES: dict[str, Callable[[Path, Path, random.Random], object]] = {
    "its first bit flipped": _flip("first"),
    "its last bit flipped": _flip("last"),
    "a bit flipped": _flip("some"),
    "without bytes": _cut(0),
    "a byte shorter": _cut(1, 1),
    "half": _cut(0.5),
    "a byte longer": _append,
    "removed": _remove,
    "renamed": _rename,
    "duplicated": _duplicate,
    "replaced by a directory": _become_directory,
    "replaced by a link": _become_link,
    "replaced by its older version": _become_older,
}


def _swap_with(other: str) -> Callable[[Path, Path, random.Random], None]:
    def damage(top: Path, path: Path, _: random.Random) -> None:
        aside = top.parent / "aside"
        path.rename(aside)
        (top / other).rename(path)
        aside.rename(top / other)

    return damage


# ---- what happens to a volume


def _remove_volume(_: Path, path: Path, __: random.Random) -> None:
    shutil.rmtree(path)


def _copy_volume(_: Path, path: Path, __: random.Random) -> None:
    shutil.copytree(path, path.with_name(path.name + " (1)"))


def _rename_volume(_: Path, path: Path, __: random.Random) -> None:
    path.rename(path.with_name("E"))


def _half_volume(_: Path, path: Path, __: random.Random) -> None:
    """As a copy that was cut off leaves it: the first files, and half of the next."""
    files = sorted(file for file in (path / "data").iterdir())
    os.truncate(files[len(files) // 2], files[len(files) // 2].stat().st_size // 2)
    for file in files[len(files) // 2 + 1 :]:
        file.unlink()


def _older_volume(top: Path, path: Path, _: random.Random) -> None:
    shutil.rmtree(path)
    shutil.copytree(top.parent / "older" / path.name, path)


# ---- the cases


@cache
def _layout(kind: Kind) -> tuple[dict[str, str], dict[str, str]]:
    """Make a bundle once; give the members to damage, each with the path that it is named by, and all others alike."""
    top = _made(kind, 1)
    made = parse_manifest(next(top.rglob(MANIFEST_NAME)).read_bytes())
    files = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
    named = {piece.name: file.path for file in made.files for piece in file.pieces}
    paths = {member: named.get(member.split("/", 1)[1], member) if kind.volumes else member for member in files}
    chosen: dict[str, str] = {}
    for member, path in paths.items():
        sort = path.rsplit(".", 1)[-1] if "/" in path and not path.startswith(("volume", "parity")) else path
        if path.startswith("parity/row-"):
            sort = "row"
        if path == member and kind.volumes:
            sort = member.split("/", 1)[1]
            if member.startswith("volume-001"):
                continue  # the others have them too: the second's are damaged
        if list(chosen.values()).count(sort) < (2 if sort == "row" else 3 if sort == "whl" else 1):
            chosen[member] = sort
    return {member: paths[member] for member in chosen}, paths


def cases() -> Iterator[Case]:
    """Make all cases."""
    for kind in KINDS:
        members, paths = _layout(kind)
        for member, path in members.items():
            for what, damage in ON_FILES.items():
                case = _file_case(kind, what, member, path, damage)
                if case is not None:
                    yield case
        yield from _swaps(kind, members)
        if kind.volumes:
            yield from _volume_cases(kind, paths)
        if kind.signed:
            yield from _forgeries(kind)


def _file_case(
    kind: Kind, what: str, member: str, path: str, damage: Callable[[Path, Path, random.Random], object]
) -> Case | None:
    name = member.rsplit("/", 1)[-1]
    at_top = "/" not in (member.split("/", 1)[1] if kind.volumes else member)
    copied = kind.parity or (kind.volumes and at_top)
    in_parity = path.startswith("parity/") or member.startswith("parity/")
    named: tuple[str, ...] = (path, member, name)
    mended: bool | None = copied
    if what == "duplicated":
        named = () if at_top else (f"{name.rsplit('.', 1)[0]} (1)",)
        return Case(kind=kind, what=what, member=member, damage=damage, named=named, mended=None, blocks=not at_top)
    if what == "replaced by its older version":
        older = _layout_of_older(kind)
        if member not in older:
            return None
        if name in (MANIFEST_NAME, "VOLUME.txt") and not in_parity:  # a manifest of another bundle tells of a mixture
            return Case(
                kind=kind, what=what, member=member, damage=damage, named=(name, "different bundles", "signature"),
                mended=None, blocks=True,
            )  # fmt: skip
    if what == "renamed" and not at_top and not in_parity:
        mended = True
    if in_parity and not path.startswith("parity/row") and what == "renamed":
        return Case(kind=kind, what=what, member=member, damage=damage, named=named, mended=None)
    if kind.signed and name == SIGNATURE_NAME and not copied and what == "a byte shorter":
        named = ()  # its last line's end: newlines are no part of what is signed
    gone = what in {"removed", "renamed"} or "directory" in what or "link" in what
    codes = (IntegrityError.exit_code, *([UsageError.exit_code] if gone and member == MANIFEST_NAME else []))
    return Case(
        kind=kind, what=what, member=member, damage=damage, named=named, mended=mended if named else None,
        blocks=bool(named) and not in_parity, codes=codes,
    )  # fmt: skip


@cache
def _layout_of_older(kind: Kind) -> frozenset[str]:
    new, old = _made(kind, 1), _made(kind, 0)
    members = [str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()]
    return frozenset(
        member
        for member in members
        if (old / member).is_file() and (old / member).read_bytes() != (new / member).read_bytes()
    )


def _swaps(kind: Kind, members: dict[str, str]) -> Iterator[Case]:
    """Swap each member with the next one, and thus every sort of file with another sort."""
    ordered = list(members)
    for one, other in zip(ordered, [*ordered[1:], ordered[0]], strict=True):
        tops = ["/" not in (member.split("/", 1)[1] if kind.volumes else member) for member in (one, other)]
        names = {member.rsplit("/", 1)[-1] for member in (one, other)}
        sealed = names & {MANIFEST_NAME, SIGNATURE_NAME}
        mended = kind.parity or (not sealed if not kind.volumes else not any(tops) or (all(tops)))
        both_parity = all(
            members[member].startswith("parity/") or member.startswith("parity/") for member in (one, other)
        )
        yield Case(
            kind=kind, what=f"swapped with {other}", member=one, damage=_swap_with(other),
            named=(members[one], members[other], *names), mended=mended, blocks=not both_parity,
        )  # fmt: skip


def _volume_cases(kind: Kind, paths: dict[str, str]) -> Iterator[Case]:
    for volume in sorted({member.split("/")[0] for member in paths}):
        own = [path for member, path in paths.items() if member.startswith(f"{volume}/data/")]
        parity_alone = all(path.startswith("parity/") for path in own)
        number = str(int(volume[-3:]))
        named = (volume, f"volume {number} of")

        def case(
            what: str,
            damage: Callable[[Path, Path, random.Random], object],
            named: tuple[str, ...],
            *,
            mended: bool | None = None,
            blocks: bool = True,
            volume: str = volume,
        ) -> Case:
            return Case(kind=kind, what=what, member=volume, damage=damage, named=named, mended=mended, blocks=blocks)

        yield case("removed", _remove_volume, named, mended=kind.parity, blocks=not parity_alone)
        yield case("half copied", _half_volume, tuple(own), mended=kind.parity, blocks=not parity_alone)
        yield case("copied twice", _copy_volume, (), blocks=False)
        yield case("renamed", _rename_volume, (), blocks=False)
        yield case("of the older bundle", _older_volume, ("different bundles", *named, *own))
    volumes = sorted({member.split("/")[0] for member in paths})
    for one, other in zip(volumes, [*volumes[1:], volumes[0]], strict=True):
        yield Case(
            kind=kind, what=f"swapped with {other}", member=one, damage=_swap_with(other), named=(), mended=None,
            blocks=False,
        )  # fmt: skip


def _forgeries(kind: Kind) -> Iterator[Case]:
    """Change what the manifest says, in every copy, and compute its checksum anew: only the signature tells."""

    def forge(change: str) -> Callable[[Path, Path, random.Random], None]:
        def damage(top: Path, _: Path, chance: random.Random) -> None:
            del chance
            for path in top.rglob(MANIFEST_NAME):
                made = parse_manifest(path.read_bytes())
                if change == "date":
                    made = made._replace(created="2026-02-01T12:00:00Z")
                elif change == "counter":
                    made = made._replace(counter=made.counter + 9)
                elif change == "file":
                    first = made.files[-1]
                    made = made._replace(files=(*made.files[:-1], first._replace(sha256="0" * 64)))
                path.write_bytes(render_manifest(made))

        return damage

    def no_signature(top: Path, _: Path, chance: random.Random) -> None:
        del chance
        for path in top.rglob(SIGNATURE_NAME):
            path.unlink()

    for change in ("date", "counter", "file"):
        yield Case(
            kind=kind, what=f"forged ({change})", member=MANIFEST_NAME, damage=forge(change),
            named=("signature", MANIFEST_NAME), mended=False,
        )  # fmt: skip
    yield Case(
        kind=kind, what="all removed", member=SIGNATURE_NAME, damage=no_signature, named=("not signed",), mended=False
    )


# ---- judging


@cache
def _made(kind: Kind, seed: int) -> Path:
    """Make a bundle once; it is copied for each case."""
    top = Path(tempfile.mkdtemp(prefix="damage-made-")) / "bundle"
    atexit.register(shutil.rmtree, top.parent)
    make_bundle(kind, top, seed)
    return top


def run_case(case: Case, place: Path) -> str | None:
    """Do what a case does, and look; say what is wrong with what was said of it, None if nothing is."""
    top = place / "bundle"
    shutil.copytree(_made(case.kind, 1), top)
    if "older" in case.what:
        shutil.copytree(_made(case.kind, 0), place / "older")
    before = _everything(top)
    case.damage(top, top / case.member, random.Random(str(case)))
    problem = _judge_what_is_said(case, *_ask(top, place, verify_only=True))
    if problem is not None or case.mended is None:
        return problem
    return _judge_repair(case, top, place, before)


def _judge_what_is_said(case: Case, code: int, said: str) -> str | None:
    if case.blocks and code not in case.codes:
        return f"exit {code} instead of 4: {said[:300]}"
    looked = 4 if case.named else 0  # damage that hinders no installation is told all the same
    if not case.blocks and code != looked:
        return f"exit {code} instead of {looked}: {said[:300]}"
    if case.named and not any(name in said for name in case.named):
        return f"names none of {case.named}: {said[:300]}"
    if not case.named and not _is_whole(code, said):
        return f"false alarm: {said[:300]}"
    return None


def _is_whole(code: int, said: str) -> bool:
    return code == 0 and "'findings': []" in said


def _judge_repair(case: Case, top: Path, place: Path, before: dict[str, bytes]) -> str | None:
    damaged = _everything(top)
    shutil.copytree(top, place / "beside", symlinks=True)
    code, said = _ask(place / "beside", place, repair_into=str(place / "into"))
    if (code == 0) != case.mended:
        return f"--repair-into: exit {code}, but mended should be {case.mended}: {said[:300]}"
    if _everything(place / "beside") != damaged:
        return "--repair-into changed the media"
    code, said = _ask(top, place, repair=True)
    if (code == 0) != case.mended:
        return f"--repair: exit {code}, but mended should be {case.mended}: {said[:300]}"
    if not case.mended:
        return None if _everything(top) == damaged else "what could not be repaired was changed"
    if _everything(top) != before:
        changed = sorted({name for name, _ in before.items() ^ _everything(top).items()})
        return f"repaired, and not as it was: {changed}"
    code, said = _ask(top, place, verify_only=True)
    return None if _is_whole(code, said) else f"repaired, and still not whole: {said[:300]}"


def _ask(top: Path, place: Path, **what: object) -> tuple[int, str]:
    """Run the installer's own steps; give its exit code and everything it said."""
    lines: list[str] = []
    context = Context(
        environment={"PYTORCH_OFFLINE_SSH_KEYGEN": "none", "HOME": str(place)},
        program_text=str,
        now=lambda: 1.8e9,
        say=lines.append,
        warn=lines.append,
    )
    pins = place / "signers"
    pins.write_text(allowed_signers(), encoding="ascii")
    signed = bool(list(place.glob("signed")))
    request = Request(places=(str(top),), allowed_signers=str(pins) if signed else None, **what)  # type: ignore[arg-type]
    try:
        outcome = carry_out(request, context)
    except PytorchOfflineError as error:
        return error.exit_code, f"{error.code} {error.message} {error.facts} {error.sections} {error.hint} {error.data}"
    return 0, f"{outcome.document}"


def _everything(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink() and not str(path).endswith(_BESIDE)
    }


def judge(case: Case) -> str | None:
    """Run a case in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="damage-") as name:
        place = Path(name)
        if case.kind.signed:
            (place / "signed").touch()
        return run_case(case, place)


def main() -> int:
    """Run the campaign, and print a table of what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="cases with this in their name")
    options = parser.parse_args()
    tally: dict[str, Counter[str]] = {}
    missed = 0
    for case in cases():
        if options.only not in str(case):
            continue
        problem = judge(case)
        group = case.what if case.what in ON_FILES else case.what.split(" with ")[0]
        counts = tally.setdefault(
            ("volume " if case.member.startswith("volume-") and "/" not in case.member else "") + group, Counter()
        )
        counts["cases"] += 1
        counts["found"] += problem is None and bool(case.named)
        counts["mended"] += problem is None and case.mended is True
        counts["beyond"] += problem is None and case.mended is False
        counts["harmless"] += problem is None and not case.named
        if problem is not None:
            missed += 1
            counts["missed"] += 1
            print(f"MISSED {case}\n    {problem}")
    columns = ("cases", "found", "mended", "beyond", "harmless", "missed")
    print(f"{'':40}" + "".join(f"{column:>10}" for column in columns))
    for group, counts in [*tally.items(), ("all", sum(tally.values(), Counter()))]:
        print(f"{group:40}" + "".join(f"{counts[column]:10}" for column in columns))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
