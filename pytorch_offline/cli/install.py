"""``install``: from a mirror, a bundle or its volumes into an environment, with no network, proven."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_offline.bundle.reading.opening import open_source, says_bundle
from pytorch_offline.bundle.writing.assembly import assemble
from pytorch_offline.bundle.writing.facts import describe_mirror
from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.cli.signals import patience
from pytorch_offline.errors import UnsatisfiableError, UsageError
from pytorch_offline.installer.model import Context, Request
from pytorch_offline.installer.steps import carry_out
from pytorch_offline.mirror.layout import LOCKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_offline.bundle.format.model import TargetLock
    from pytorch_offline.bundle.reading.sources import Source

# A virtual environment with torch has 15,000 files and more; to put back what was there takes a slow disk some seconds.
CLEARING_SECONDS = 60.0
CLEARING = "what was begun is taken away again; another Ctrl-C ends at once, and the next run takes it away"
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command(name="install")
@click.argument("requirements", metavar="[REQ]...", nargs=-1)
@click.option(
    "--from",
    "sources",
    type=_DIRECTORY,
    multiple=True,
    metavar="DIR",
    help="A mirror, a bundle, or one of its volumes; repeatable.  [default: --mirror]",
)
@click.option("--python", default=None, metavar="EXE", help="Install for this interpreter; with --venv: its base.")
@click.option("--venv", type=_DIRECTORY, default=None, help="Install into this environment; created if missing.")
@click.option("--prefix", type=_DIRECTORY, default=None, help="Install into the environment there, conda's too.")
@click.option(
    "--installer",
    type=click.Choice(["pip", "uv"]),
    default="pip",
    show_default=True,
    help="What puts the files in place.",
)
@click.option("--target", default=None, metavar="NAME", help="Use the lock of this target; else the one that fits.")
@click.option("--only-needed", is_flag=True, default=False, help="Of a bundle, check only what this machine needs.")
@click.option(
    "--allowed-signers",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Take bundles signed by these alone (see ssh-keygen(1)); else by those that are pinned here, if any are.",
)
@click.option("--pin", is_flag=True, default=False, help="From now on trust the key that signed this bundle.")
@click.option(
    "--allow-unsigned", is_flag=True, default=False, help="Take what is not signed, although keys are pinned."
)
@click.option(
    "--allow-older", is_flag=True, default=False, help="Take a bundle that is older than one that was installed there."
)
@click.option(
    "--export-manifest",
    "export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Only write what lies here, for bundle --since on the other side; FILE.gz is compressed.",
)
@click.option(
    "--compile/--no-compile",
    "compiles",
    default=None,
    help="Make byte code, or not; with pip it is made, with uv it is not.",
)
@click.option("--dry-run", is_flag=True, default=False, help="Check everything and show the plan; change nothing.")
@click.option(
    "--prove-only",
    is_flag=True,
    default=False,
    help="Prove what is there, e.g. after a driver's update; change nothing.",
)
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Leave the evidence here too: as JSON, and beside it as HTML and text.",
)
@common_options
def command(
    session: Session,
    *,
    requirements: tuple[str, ...],
    sources: tuple[Path, ...],
    python: str | None,
    venv: Path | None,
    prefix: Path | None,
    installer: str,
    target: str | None,
    only_needed: bool,
    allowed_signers: Path | None,
    pin: bool,
    allow_unsigned: bool,
    allow_older: bool,
    export: Path | None,
    dry_run: bool,
    compiles: bool | None,
    prove_only: bool,
    evidence: Path | None,
) -> None:
    """Install from a mirror or a bundle with no network, and prove it.

    Every file is checked before anything is changed; then pip (or uv) runs offline with required hashes, beside the
    environment; then all is put in place at once, and versions, installed files and conflicts are checked, and torch is
    imported and computes. Whatever fails puts back what was there.

    \b
    Into a new virtual environment:     pytorch-offline install --from cache --venv env
    Of another Python:                  pytorch-offline install --from cache --venv env --python python3.10
    Into a conda environment:           pytorch-offline install --from cache --prefix $CONDA_PREFIX
    Signed by whom you trust:           pytorch-offline install --from /media/usb --allowed-signers signers --venv env
    From volumes:                       pytorch-offline install --from /media/1 --from /media/2 --venv env
    Only a part of the lock:            pytorch-offline install numpy --from /media/usb --venv env
    """  # noqa: D301  (\b is click's mark for a paragraph that is not wrapped)
    places = sources or (session.mirror,)
    asked = [parse_requirement(text) for text in requirements]
    source = open_mirror(places, [target] if target else [])
    request = Request(
        places=tuple(map(str, places)),
        python=python,
        venv=None if venv is None else str(venv),
        prefix=None if prefix is None else str(prefix),
        target=target,
        program=installer,
        only_needed=only_needed or source is not None,  # a mirror may hold terabytes for others
        allowed_signers=None if allowed_signers is None else str(allowed_signers),
        pin=pin,
        allow_unsigned=allow_unsigned,
        allow_older=allow_older,
        export_manifest=None if export is None else str(export),
        compile=compiles,
        dry_run=dry_run,
        prove_only=prove_only,
        evidence=None if evidence is None else str(evidence),
    )
    with patience(CLEARING_SECONDS, lambda: session.message(CLEARING)):
        outcome = carry_out(request, surroundings(session, asked), source)
    silent = session.verbosity < 0 and not dry_run  # a plan is what was asked for
    session.result(outcome.document, "" if silent else outcome.text)


def open_mirror(places: Sequence[Path], targets: Sequence[str]) -> Source | None:
    """Describe a mirror as the bundle that could be written of it; None where something else is named.

    Raises:
        UsageError: ``not-a-mirror``, ``unknown-target``.
        IntegrityError: see ``describe_mirror``.
    """
    if len(places) != 1 or not is_mirror(places[0]):
        return None
    return open_source([str(places[0])], describe_mirror(places[0], targets))


def is_mirror(place: Path) -> bool:
    """Whether a directory is no bundle, by what its manifest says of itself; of others, opening says what is wrong."""
    said = says_bundle(str(place))
    return (place / LOCKS).is_dir() if said is None else not said


def surroundings(session: Session, asked: Sequence[Requirement]) -> Context:
    """Make the surroundings of an installation that the package runs."""
    return Context(
        environment=dict(os.environ),
        program_text=assemble,
        now=time.time,
        say=session.message,
        warn=session.warn,
        own_prefix=sys.prefix,
        own_pip=own_pip(),
        wanted=wanted_of(asked) if asked else None,
    )


def own_pip() -> tuple[tuple[str, ...], str] | None:
    """Give the pip of this tool's own environment, None if it has none."""
    try:
        return (sys.executable, "-I", "-m", "pip"), importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        return None


def wanted_of(asked: Sequence[Requirement]) -> Callable[[TargetLock], tuple[str, ...]]:
    """Make the rule that judges requirements against a lock and names the projects that they ask for."""

    def wanted(lock: TargetLock) -> tuple[str, ...]:
        versions = {wheel.project: wheel.version for wheel in lock.wheels}
        absent = {}
        for requirement in asked:
            version = versions.get(canonicalize_name(requirement.name))
            if version is None:
                absent[str(requirement)] = f"you ask for {requirement}, which is missing"
            elif not requirement.specifier.contains(version, prereleases=True):
                absent[str(requirement)] = f"you ask for {requirement}, which is {version} here"
        if absent:
            raise UnsatisfiableError(
                "not-in-lock",
                f"the lock of target {lock.target} does not hold what is asked for",
                facts=absent,
                hint="fetch it on the connected machine, for the same target",
            )
        return tuple(canonicalize_name(requirement.name) for requirement in asked)

    return wanted


def parse_requirement(text: str) -> Requirement:
    """Read a requirement of the command line.

    Raises:
        UsageError: ``bad-requirement`` if it is none, or names a place instead of a version.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise UsageError("bad-requirement", f"{text!r} is not a requirement: {str(error).splitlines()[0]}") from error
    if requirement.url is not None:
        raise UsageError("bad-requirement", f"{text!r} names an address; only the mirror's wheels can be installed")
    return requirement
