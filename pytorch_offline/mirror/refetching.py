"""What to run where a mirror's own files are lost or damaged: ``fetch``, from what is left of its locks.

A manifest is not made up from the files that lie there: what they should be is what it was to say. The locks hold the
hashes of what was chosen. ``fetch`` takes from the disk what has them, and downloads only the rest.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pytorch_offline.mirror.layout import LOCKS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path, PurePosixPath


def moved_away(root: Path, damaged: Path) -> str:
    """Say how to go on without a damaged file: move it away and fetch again."""
    move = shlex.join(["mv", str(damaged), f"{damaged}.damaged"])
    return f"restore it from a copy; or move it away, and fetch again what the locks name: {move} && {all_again(root)}"


def all_again(root: Path) -> str:
    """Give the commands that make manifest and pages anew, one for each target whose lock is there."""
    targets = sorted(place.stem for place in (root / LOCKS).glob("*.json"))
    there = [target for target in targets if (root / LOCKS / f"requirements.{target}.txt").is_file()]
    return " && ".join(_fetch(root, f"requirements.{target}.txt", target) for target in there) or _first(root)


def locks_again(root: Path, bad: Collection[PurePosixPath]) -> list[str]:
    """Give the commands that write bad files of ``locks/`` anew, each from what is sound of the same target's."""
    commands: dict[str, None] = {}  # a set in order: files of one target come from one command
    for path in sorted(bad):
        target = path.name.removeprefix("requirements.").removeprefix("pylock.").rpartition(".")[0]
        sound = [
            name
            for name in (f"requirements.{target}.txt", f"pylock.{target}.toml")
            if LOCKS / name not in bad and (root / LOCKS / name).is_file()
        ]
        described = LOCKS / f"{target}.json" not in bad
        commands[_fetch(root, sound[0], target if described else None) if sound else _first(root)] = None
    return list(commands)


def _fetch(root: Path, name: str, target: str | None) -> str:
    lost = "FILE, which `pytorch-offline detect -o FILE` writes on that machine"
    described = lost if target is None else shlex.quote(str(root / LOCKS / f"{target}.json"))
    words = ["pytorch-offline", "fetch", "--mirror", str(root), "-r", str(root / LOCKS / name), "--target"]
    return f"{shlex.join(words)} {described}"


def _first(root: Path) -> str:
    return f"{shlex.join(['pytorch-offline', 'fetch', '--mirror', str(root)])} …, as the mirror was filled"
