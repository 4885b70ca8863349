"""Which installed packages' requirements an installation would break, found out before anything is changed.

What is installed on the far side nobody could know beforehand, so its requirements are judged there: under the
destination's interpreter, by the ``packaging`` that every pip holds (``pip._vendor``), of the destination's own pip or
of one that travels along.
"""

import json
import re
import sys
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import UsageError
from pytorch_offline.installer.destination import ask_destination
from pytorch_offline.installer.model import Context, Finding, Survey, project_name
from pytorch_offline.installer.surroundings import local_path, portable_path
from pytorch_offline.installer.survey import list_distributions


class BrokenRequirement(NamedTuple):
    """A requirement of an installed package that does not hold; ``found`` is what is there, None if nothing is."""

    project: str
    requirement: str
    found: Optional[str]


def may_conflict(survey: Survey, install: Sequence[LockedWheel]) -> bool:
    """Whether anything that stays asks for anything that comes; else nobody needs to be asked."""
    coming = {wheel.project for wheel in install}
    staying = [held for held in survey.distributions.values() if held.name not in coming]
    return any(required_project(line) in coming for held in staying for line in held.requires)


def required_project(requirement: str) -> str:
    """Read the project's name that a requirement begins with."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return project_name(match.group(1)) if match else ""


def judge_conflicts(
    survey: Survey, install: Sequence[LockedWheel], context: Context, pip: Optional[str]
) -> Tuple[Finding, ...]:
    """Name the packages that would be broken, and were not before.

    Args:
        survey: the destination.
        install: what comes.
        context: the surroundings.
        pip: a pip wheel whose ``packaging`` is used where the destination has no pip; None if there is none.
    """
    if not may_conflict(survey, install):
        return ()
    asked: Dict[str, Any] = {"versions": {wheel.project: wheel.version for wheel in install}, "pip": None}
    if survey.pip is None and pip is not None:
        asked["pip"] = portable_path(pip)
    try:
        answer = ask_destination(survey.executable, ["conflicts", json.dumps(asked)], context)
    except UsageError as error:
        answer = {"unjudged": str(error.facts.get("it says", error.message))}
    if "unjudged" in answer:
        detail = "nobody here can judge what the packages that are there require ({})".format(answer["unjudged"])
        return (Finding("conflicts", "", detail, fails=False, hint="the proof looks at them afterwards"),)
    before = {tuple(row[:2]) for row in answer["before"]}
    broken = [BrokenRequirement(*row) for row in answer["after"] if tuple(row[:2]) not in before]
    versions = {held.name: held.version for held in survey.distributions.values()}
    return tuple(
        Finding(
            "conflicts",
            one.project,
            f"{versions.get(one.project, '')} requires {one.requirement}, and {one.found} would come".strip(),
            hint="update or remove it first, or install into an environment of its own: --venv DIR",
        )
        for one in broken
    )


def find_broken(arguments: List[str]) -> Mapping[str, Any]:
    """Find the broken requirements of the running interpreter's environment, before and after versions change.

    Args:
        arguments: one JSON object: ``versions`` that will be there, by project; a ``pip`` wheel, or null.
    """
    asked = json.loads(arguments[0])
    if asked["pip"]:
        sys.path.append(local_path(asked["pip"]))
    try:
        from pip._vendor.packaging.requirements import Requirement  # noqa: PLC0415  (pip may lie in that wheel)
    except Exception as error:  # noqa: BLE001  (a broken pip is as good as none, and may fail in any way)
        return {"unjudged": repr(error)}
    held = list_distributions(sys.path)
    now = {name: distribution.version for name, distribution in held.items()}
    after = dict(now, **asked["versions"])
    rows: Dict[str, List[List[Optional[str]]]] = {"before": [], "after": []}
    for name, distribution in sorted(held.items()):
        for line in distribution.requires:
            try:
                requirement = Requirement(line)
                if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                    continue
                wanted = project_name(requirement.name)
                for moment, versions in (("before", now), ("after", after)):
                    if moment == "after" and name in asked["versions"]:
                        continue  # it will be another
                    found = versions.get(wanted)
                    if found is None or not requirement.specifier.contains(found, prereleases=True):
                        rows[moment].append([name, line, found])
            except Exception:  # noqa: BLE001, S112  (an old package's own spelling; it is not what we change)
                continue
    return rows


def pip_that_judges(survey: Survey, carried: Optional[str] = None) -> Optional[str]:
    """Choose the pip wheel whose ``packaging`` is used where the destination has no pip of its own."""
    return None if survey.pip is not None else carried or survey.bundled_pip
