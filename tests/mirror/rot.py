"""Bit rot: what disks, power cuts and copies do to a mirror's files, and a campaign of it.

Run by hand: ``python -m tests.mirror.rot [ROUNDS] [SEED]``; a short slice of it is in ``test_repair.py``.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import sidecar_of
from pytorch_offline.mirror.repair import repair_mirror
from pytorch_offline.mirror.scrub import Pace
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.verify import verify_mirror
from pytorch_offline.net import Http
from tests.mirror.loopback import Loopback
from tests.mirror.wheels import Wheel, craft_wheel, now, tree

if TYPE_CHECKING:
    from collections.abc import Sequence


def flip(path: Path, chance: random.Random) -> None:
    """One bit of one byte."""
    body = bytearray(path.read_bytes())
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    path.write_bytes(body)


def flip_many(path: Path, chance: random.Random) -> None:
    """A few bits here and there."""
    for _ in range(chance.randint(2, 5)):
        flip(path, chance)


def hole(path: Path, chance: random.Random) -> None:
    """Zeros where a page of the disk was: a write that never came there."""
    body = bytearray(path.read_bytes())
    start = chance.randrange(len(body)) // 4096 * 4096
    stop = min(len(body), start + 4096 * chance.randint(1, 8))
    body[start:stop] = bytes(stop - start)
    path.write_bytes(body)


def zero_tail(path: Path, chance: random.Random) -> None:
    """The size is right, the end was never written: a power cut."""
    body = path.read_bytes()
    start = chance.randrange(len(body))
    path.write_bytes(body[:start] + bytes(len(body) - start))


def truncate(path: Path, chance: random.Random) -> None:
    """A copy that ended early."""
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def lengthen(path: Path, chance: random.Random) -> None:
    """Something was appended."""
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, 9000)))


def remove(path: Path, chance: random.Random) -> None:
    """It is gone."""
    del chance
    path.unlink()


def garbage(path: Path, chance: random.Random) -> None:
    """Another file's bytes, of the same size."""
    path.write_bytes(chance.randbytes(path.stat().st_size))


def shift(path: Path, chance: random.Random) -> None:
    """A byte was lost in the middle and one gained at the end."""
    body = path.read_bytes()
    at = chance.randrange(len(body))
    path.write_bytes(body[:at] + body[at + 1 :] + b"\0")


def spoil_metadata(path: Path, chance: random.Random) -> None:
    """The METADATA beside it, not the wheel."""
    flip(path.with_name(f"{path.name}.metadata"), chance)


HARMS = (flip, flip_many, hole, zero_tail, truncate, lengthen, remove, garbage, shift, spoil_metadata)


def rotting_wheel(path: str, members: int, size: int, *, seed: int) -> Wheel:
    """Craft a wheel of so many members of about so many bytes each, which no compression shrinks much."""
    chance = random.Random(seed)
    further = {f"data/{number}.bin": chance.randbytes(chance.randint(1, 2 * size)) for number in range(members)}
    return craft_wheel(path, further=further)


def mirror_of(wheels: Sequence[Wheel], root: Path, server: Loopback) -> Mirror:
    """Make a mirror whose wheels came from a server."""
    mirror = Mirror(root)
    with mirror.lock():
        for wheel in wheels:
            server.put(f"/{wheel.path}", wheel.body)
            wheel.admit(mirror)
        rows = mirror.read_files()
        mirror.rewrite(replace(row, origin=server.url(f"/{path}")) for path, row in rows.items())
        mirror.publish()
    return mirror


def rounds(mirror: Mirror, server: Loopback, count: int, *, seed: int, noted: bool = True) -> Counter[str]:
    """Let a mirror rot and mend it, again and again, and count.

    Each file has at most one harm in a round. Whatever is not found, or not as before after its repair, raises.
    """
    chance, counts, before = random.Random(seed), Counter[str](), tree(mirror.root)
    paths = sorted(mirror.read_files())
    with Http() as http:
        for _ in range(count):
            harmed = {}
            for path in chance.sample(paths, chance.randint(1, max(1, len(paths) // 3))):
                harm = chance.choice(HARMS)
                harm(mirror.root / path, chance)
                if tree_of(mirror, path) != (before[str(path)], before[str(sidecar_of(path))]):
                    harmed[path] = harm
            if not noted:
                mirror.blocks.keep(())
            found = verify_mirror(mirror, pace=Pace(jobs=2), now=now).findings
            assert {finding.path for finding in found} == harmed.keys(), (found, harmed)
            done = repair_mirror(mirror, found, http, now=now)
            assert not done.failures, done.failures
            assert tree(mirror.root) == before
            assert not list(mirror.partial.iterdir())
            counts["rounds"] += 1
            counts["bytes downloaded"] += done.fetched.bytes_downloaded
            for path, harm in harmed.items():
                counts["bad files"] += 1
                counts["bytes of bad files"] += len(before[str(path)]) if harm is not spoil_metadata else 0
                counts[f"{harm.__name__}: files"] += 1
                counts[f"{harm.__name__}: bytes needed"] += done.needed.get(path, 0)
                counts[f"{harm.__name__}: bytes of files"] += len(before[str(path)])
    counts["requests"] = len(server.requests)
    return counts


def tree_of(mirror: Mirror, path: object) -> tuple[bytes | None, bytes | None]:
    """Read a wheel and its METADATA, as they are now."""
    places = (mirror.root / str(path), mirror.root / f"{path}.metadata")
    found = [place.read_bytes() if place.exists() else None for place in places]
    return found[0], found[1]


def main() -> None:
    """Make a mirror of many wheels, and count what rot costs with and without checksums of blocks."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    wheels = [
        rotting_wheel(f"whl/cpu/pkg{number}-1.0-py3-none-any.whl", 12, 200_000, seed=number) for number in range(32)
    ]
    for noted in (True, False):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, Loopback() as server:
            mirror = mirror_of(wheels, Path(directory) / "mirror", server)
            lines = ["with checksums of blocks" if noted else "with the members' own checksums alone"]
            counts = rounds(mirror, server, count, seed=seed, noted=noted)
            lines += [f"  {name}: {value:,}" for name, value in counts.items()]
            sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
