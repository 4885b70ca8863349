"""The lines that drive pip or uv hard and offline into a staging directory: arguments and requirements, as values.

The hardened line is nothing but the files that we name, every hash required, no dependency followed (the closure is
complete), no configuration of the user or of the machine in force (``surroundings.py`` takes the variables away).
With ``--root`` every pip from 18.1 on lays out a tree that mirrors the final paths, with scripts that name the final
interpreter and a RECORD relative to ``site-packages``; uv has ``--prefix``, which does the same for the layout that
virtual environments have.
"""

from typing import Iterable, List, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel, Manifest

# One pip unpacks in one process. Several at a time are worth their start from this much on; four keep a disk busy.
BYTES_PER_INSTALLER = 100 * 1024 * 1024
MOST_INSTALLERS = 4


def pip_staging_arguments(*, wheels: str, requirements: str, root: str) -> Tuple[str, ...]:
    """Build pip's arguments, without the command itself.

    ``wheels`` holds exactly the files of the plan: among several wheels of one version pip takes the best tag and only
    then looks at the hash. Byte code is made afterwards, by many processes (``byte_code.py``).
    """
    return (
        "install",
        "--isolated",
        "--no-index",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-deps",
        "--ignore-installed",
        "--no-compile",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-warn-script-location",
        "--progress-bar=off",
        f"--find-links={wheels}",
        f"--requirement={requirements}",
        f"--root={root}",
    )


def uv_staging_arguments(*, python: str, wheels: str, requirements: str, cache: str, prefix: str) -> Tuple[str, ...]:
    """Build uv's arguments for the same; ``cache`` lies in the destination's file system, so that uv links."""
    return (
        "pip",
        "install",
        "--no-config",
        "--offline",
        "--no-index",
        "--no-build",
        "--require-hashes",
        "--no-deps",
        "--reinstall",
        "--prerelease=allow",
        "--no-progress",
        f"--cache-dir={cache}",
        f"--python={python}",
        f"--find-links={wheels}",
        f"--requirements={requirements}",
        f"--prefix={prefix}",
    )


def render_pins(wheels: Iterable[LockedWheel], manifest: Manifest) -> str:
    """Write the requirements file: each project pinned to its exact version and hash."""
    return "".join(
        f"{wheel.project}=={wheel.version} --hash=sha256:{manifest.file_at(wheel.path).sha256}\n" for wheel in wheels
    )


def share_wheels(
    wheels: Sequence[LockedWheel], manifest: Manifest, processors: int
) -> Tuple[Tuple[LockedWheel, ...], ...]:
    """Share wheels between installers that run side by side, the largest first to whoever has least."""
    sizes = {wheel.path: manifest.file_at(wheel.path).size for wheel in wheels}
    many = min(processors, MOST_INSTALLERS, len(wheels), 1 + sum(sizes.values()) // BYTES_PER_INSTALLER)
    shares: List[List[LockedWheel]] = [[] for _ in range(many)]
    loads = [0] * many
    for wheel in sorted(wheels, key=lambda wheel: (-sizes[wheel.path], wheel.path)):
        least = loads.index(min(loads))
        shares[least].append(wheel)
        loads[least] += sizes[wheel.path]
    return tuple(tuple(sorted(share, key=lambda wheel: wheel.project)) for share in shares if share)
