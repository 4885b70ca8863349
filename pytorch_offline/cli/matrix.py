"""``matrix``: which builds exist, for which Python, CUDA, driver and GPU, and what belongs together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.cli.session import Session, common_options, is_typed
from pytorch_offline.cli.target_options import Names
from pytorch_offline.crawler.as_of import before_first_reading, parse_as_of
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.upstream import CHANNELS
from pytorch_offline.errors import UsageError
from pytorch_offline.knowledge.architectures import parse_architectures, parse_compute_capability
from pytorch_offline.knowledge.companions import COMPANIONS
from pytorch_offline.knowledge.family import TORCH
from pytorch_offline.knowledge.gpus import find_gpu
from pytorch_offline.matrix import companions, drivers, gpus, releases, tutorials
from pytorch_offline.matrix.builds import Build, Wanted, builds_of, insist_on_builds, period_of, tabled_builds
from pytorch_offline.matrix.view import Section, View, document_of, render_csv, render_view
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.moments import spell_moment
from pytorch_offline.selector.asking.requirements import parse_requirement
from pytorch_offline.target.platforms import parse_platform
from pytorch_offline.wheels.backend import BackendKind, parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.metadata import parse_metadata
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.crawler.model import Observation
    from pytorch_offline.knowledge.architectures import ArchitectureList

EPILOG = """\b
Examples:
  pytorch-offline matrix
  pytorch-offline matrix "torch>=2.4" --by cuda --platform win_amd64
  pytorch-offline matrix torchvision --by python --backend cu126
  pytorch-offline matrix --by companions --csv
  pytorch-offline matrix --by driver --driver 470.82.01
  pytorch-offline matrix --gpu "GTX 1080 Ti" --gpu "RTX 4090"
"""
# Where the machines are that have NVIDIA's GPUs.
_GPU_PLATFORM = "linux_x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is shown of what: the filters, and everything that is known of the project."""

    wanted: Wanted
    builds: tuple[Build, ...]
    marks: Mapping[Version, str]

    @property
    def title(self) -> str:
        """What the rows are about, as the filters say it."""
        wanted = self.wanted
        parts = [f"{wanted.project}{wanted.specifier}"]
        parts += [wanted.channel] if wanted.channel != "stable" else []
        parts += [*wanted.platforms, *map(str, wanted.backends), *(f"Python {one}" for one in wanted.pythons)]
        return ", ".join(parts)


@click.command(epilog=EPILOG, short_help="Show which builds there are, for which machine.")
@click.argument("project", default="torch")
@click.option(
    "--by",
    type=click.Choice(["release", "cuda", "python", "companions", "driver"]),
    default="release",
    show_default=True,
    help="What the rows are.",
)
@click.option(
    "--gpu", "gpu_names", type=Names(), metavar="NAME", multiple=True, help="The last usable torch for all GPUs named."
)
@click.option(
    "--compute-capability", "capabilities", metavar="X.Y", multiple=True, help="Instead of --gpu, e.g. 8.0; repeatable."
)
@click.option("--driver", metavar="VERSION", help="What this driver runs (--by driver).")
@click.option("--platform", "platforms", metavar="TAG", multiple=True, help="Only this platform; repeatable.")
@click.option("--backend", "backends", metavar="B", multiple=True, help="Only this backend; repeatable.")
@click.option("--python-version", "pythons", metavar="X.Y", multiple=True, help="Only this Python; repeatable.")
@click.option(
    "--channel",
    type=click.Choice(list(CHANNELS)),
    default="stable",
    show_default=True,
    help="Which of upstream's channels.",
)
@click.option("--as-of", metavar="DATE", help="What the catalogue knew on this day (UTC).")
@click.option("--csv", "as_csv", is_flag=True, default=False, help="Print the rows as CSV, with nothing left out.")
@common_options
def command(
    session: Session,
    *,
    project: str,
    by: str,
    gpu_names: tuple[str, ...],
    capabilities: tuple[str, ...],
    driver: str | None,
    platforms: tuple[str, ...],
    backends: tuple[str, ...],
    pythons: tuple[str, ...],
    channel: str,
    as_of: str | None,
    as_csv: bool,
) -> None:
    """Show which builds of PROJECT there are: releases, backends, Pythons, platforms; newest first.

    PROJECT may be a requirement ("torch>=2.4"). The rows are what upstream's pages listed when `crawl`, `select` or
    `fetch` read them; releases of torch that no such page lists come from the table of releases, and are marked.
    """
    if as_csv and session.as_json:
        raise UsageError("contradiction", "--csv and --json exclude each other")
    if is_typed("by") and (is_typed("gpu_names") or is_typed("capabilities")):
        raise UsageError("contradiction", "--gpu and --by exclude each other", hint="leave out --by")
    # What a variable or the settings file says of a machine is for `select`; it yields to a table that is asked for.
    devices = () if is_typed("by") else (*map(_named_chip, gpu_names), *map(_chip, capabilities))
    if is_typed("driver") and not is_typed("by") and not devices:
        by = "driver"
    requirement, _ = parse_requirement(project, "PROJECT")
    wanted = Wanted(
        project=canonicalize_name(requirement.name),
        specifier=requirement.specifier,
        channel=channel,
        platforms=tuple(_platform(text) for text in platforms),
        backends=tuple(parse_backend(text) for text in backends),
        pythons=pythons,
        as_of=None if as_of is None else parse_as_of(as_of),
    )
    with Catalogue.open(session.mirror / STATE_NAME / CATALOGUE_NAME) as catalogue:
        if by == "companions":
            view = _companions(catalogue, wanted)
        else:
            asked = _asked(catalogue, wanted)
            if devices:
                view = _gpus(asked, devices, catalogue)
            elif by == "driver":
                view = _drivers(asked, driver)
            else:
                view = _builds(asked, by)
    session.result(document_of(view), render_csv(view) if as_csv else render_view(view))


def _platform(text: str) -> str:
    platform = parse_platform(text)
    return f"macosx_{platform.arch}" if platform.macos is not None else platform.short_name


def _sayings(catalogue: Catalogue, wanted: Wanted) -> tuple[Observation, ...]:
    sayings = catalogue.sayings_about(wanted.project)
    if wanted.as_of is not None and sayings:
        first = min(saying.first_seen for saying in sayings)
        if first > spell_moment(wanted.as_of):
            raise before_first_reading(wanted.project, wanted.as_of, first)
    return sayings


def _asked(catalogue: Catalogue, wanted: Wanted) -> _Asked:
    sayings = _sayings(catalogue, wanted)
    everything = Wanted(project=wanted.project, specifier=SpecifierSet(), channel=wanted.channel, as_of=wanted.as_of)
    listed = builds_of(sayings, everything)
    known = (*listed, *tabled_builds(everything, (build.version for build in listed)))
    builds = tuple(build for build in known if wanted.admits(build))
    insist_on_builds(builds, wanted, anything_known=bool(known))
    return _Asked(wanted=wanted, builds=builds, marks=releases.marks_of(known))


def _dated(builds: Sequence[Build], wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """Say of when the catalogue is, as a note and as facts."""
    period = period_of(builds)
    when = None if wanted.as_of is None else spell_moment(wanted.as_of)
    facts = {
        "project": wanted.project,
        "channel": wanted.channel,
        "as_of": when,
        "catalogue": None if period is None else {"first_read": period[0], "last_read": period[1]},
    }
    if period is None:
        return ["No page that lists these was read yet: `pytorch-offline crawl` reads them."], facts
    first, last = (moment[:10] for moment in period)
    days = first if first == last else f"{first} to {last}"
    return [f"Catalogue: pages read {days}{'' if when is None else f', as known on {when}'}."], facts


def _builds(asked: _Asked, by: str) -> View:
    builds = asked.builds
    notes, facts = _dated(builds, asked.wanted)
    what = {"release": "per release", "cuda": "per backend", "python": "per Python"}[by]
    sections: list[Section] = []
    if by == "cuda":
        sections.append(releases.by_backend(builds, asked.marks))
        if asked.wanted.project == TORCH and asked.wanted.channel == "stable":
            rows = tutorials.compare_tutorials(builds, asked.wanted.specifier)
            sections += [tutorials.tutorial_section(rows)] if rows else []
            facts["tutorials"] = [tutorials.tutorial_record(row) for row in rows]
    else:
        sections.append(releases.by_python(builds, asked.marks) if by == "python" else releases.by_release(builds))
    return View(
        title=f"Builds of {asked.title}, {what}",
        sections=tuple(sections),
        records=tuple(releases.record_of(build) for build in builds),
        notes=(*releases.notes_on(builds), *releases.namesake_notes(builds), *notes),
        facts={**facts, "by": by},
    )


def _drivers(asked: _Asked, driver: str | None) -> View:
    platforms = asked.wanted.platforms or (_GPU_PLATFORM,)
    builds = [build for build in asked.builds if build.platform in platforms]
    system = drivers.SYSTEMS[platforms[0].startswith("win")]
    version = None if driver is None else _driver(driver)
    rows = drivers.driver_rows(builds, version, system)
    notes, facts = _dated(builds, asked.wanted)
    best = drivers.best_for_driver(rows)
    about = [f"The newest torch for driver {driver} on {platforms[0]}: {drivers.render_best(best)}"] if driver else []
    return View(
        title=f"NVIDIA drivers, CUDA and {asked.wanted.project}{asked.wanted.specifier} ({', '.join(platforms)})",
        sections=(drivers.driver_section(rows, asked.marks),),
        records=tuple(drivers.record_of_driver(row) for row in rows),
        notes=(*about, *drivers.NOTES, *releases.notes_on(builds), *notes),
        facts={
            **facts,
            "by": "driver",
            "driver": driver,
            "best": None if best is None or driver is None else drivers.record_of_driver(best),
        },
    )


def _driver(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        hint = "write the number that nvidia-smi shows, e.g. 535.104.05"
        raise UsageError("bad-driver", f"{text!r} is not the version of a driver", hint=hint) from error


def _named_chip(name: str) -> gpus.Chip:
    found = find_gpu(name)
    return gpus.Chip(name=found.name, compute_capability=found.compute_capability)


def _chip(text: str) -> gpus.Chip:
    try:
        return gpus.Chip(name=f"compute capability {text}", compute_capability=parse_compute_capability(text))
    except ValueError as error:
        raise UsageError("bad-compute-capability", f"{text!r} is not a compute capability", hint="e.g. 8.6") from error


def _gpus(asked: _Asked, found: Sequence[gpus.Chip], catalogue: Catalogue) -> View:
    if asked.wanted.project != TORCH:
        raise UsageError("contradiction", f"--gpu is about torch, not {asked.wanted.project}")
    platforms = asked.wanted.platforms or (_GPU_PLATFORM,)
    builds = [
        build
        for build in asked.builds
        if build.platform in platforms and build.backend is not None and build.backend.kind is BackendKind.CUDA
    ]

    def measured(build: Build) -> ArchitectureList | None:
        readings = (catalogue.inspection(link) for link in build.links)
        lists = (reading.architectures for reading in readings if reading is not None)
        return next((parse_architectures(texts) for texts in lists if texts), None)

    rows = gpus.last_usable(builds, [gpu.compute_capability for gpu in found], measured)
    notes, facts = _dated(builds, asked.wanted)
    unknown = sorted({build.version for row in rows for build in row.unknown}, reverse=True)
    doubts = [f"Not known what these have code for: {', '.join(map(str, unknown))}"] if unknown else []
    return View(
        title=gpus.overall(rows, found),
        sections=(gpus.gpu_section(rows),),
        records=tuple(gpus.record_of_last(row, found) for row in rows),
        notes=(*gpus.NOTES, *gpus.branch_notes(found), *doubts, *releases.notes_on(builds), *notes),
        facts={
            **facts,
            "gpus": [{"name": gpu.name, "compute_capability": gpus.spelt(gpu.compute_capability)} for gpu in found],
        },
    )


def _companions(catalogue: Catalogue, wanted: Wanted) -> View:
    if wanted.project != TORCH:
        raise UsageError("contradiction", f"--by companions starts from torch, not from {wanted.project}")
    offered: dict[NormalizedName, list[Version]] = {}
    pins: dict[tuple[NormalizedName, Version], SpecifierSet] = {}
    seen: list[Build] = []
    for project in (TORCH, *map(NormalizedName, COMPANIONS)):
        mine = Wanted(
            project=project,
            specifier=SpecifierSet(),
            channel=wanted.channel,
            platforms=wanted.platforms,
            backends=wanted.backends,
            pythons=wanted.pythons,
            as_of=wanted.as_of,
        )
        sayings = _sayings(catalogue, mine) if project == TORCH else catalogue.sayings_about(project)
        builds = builds_of(sayings, mine)
        seen += builds
        offered[project] = sorted({build.version for build in builds})
        if project != TORCH:
            pins.update(_pins(catalogue, project, sayings))
    records = companions.companion_records(wanted.specifier, offered, pins)
    insist_on_builds(records, wanted, anything_known=True)
    notes, facts = _dated(seen, wanted)
    return View(
        title=f"torch{wanted.specifier} and what belongs to it",
        sections=(companions.companion_section(records, offered),),
        records=records,
        notes=(*companions.NOTES, *notes),
        facts={**facts, "by": "companions"},
    )


def _pins(
    catalogue: Catalogue, project: NormalizedName, sayings: Sequence[Observation]
) -> Mapping[tuple[NormalizedName, Version], SpecifierSet]:
    """Read what METADATA that the catalogue holds says of torch."""
    pins: dict[tuple[NormalizedName, Version], SpecifierSet] = {}
    for link in catalogue.with_metadata(saying.link for saying in sayings):
        version = release_of(parse_wheel_name(link.filename).version)
        if (project, version) in pins or (body := catalogue.metadata(link)) is None:
            continue
        for requirement in parse_metadata(body).requires_dist:
            if canonicalize_name(requirement.name) == TORCH and requirement.marker is None and requirement.specifier:
                pins[project, version] = requirement.specifier
    return pins
