"""Put what was staged into its place, by renames that are written down first: effects around ``switch.plan_switch``."""

import os
from typing import NamedTuple, Sequence

from pytorch_offline.errors import IntegrityError
from pytorch_offline.installer.environment_files import EnvironmentFiles, find_leaving
from pytorch_offline.installer.hashed_wheels import HashedWheel
from pytorch_offline.installer.journal import carry_out_steps, make_journal, remove_journal, write_journal
from pytorch_offline.installer.model import Context, Plan
from pytorch_offline.installer.staged_trees import staged_trees
from pytorch_offline.installer.staging import Staged
from pytorch_offline.installer.switch import plan_switch
from pytorch_offline.installer.workplace import Work
from pytorch_offline.installer.workshop import WORKSHOP, clear_workshop, disk_trouble, undo_switch


class Switched(NamedTuple):
    """A switch that was done; until ``commit`` whoever leaves the workplace by an error undoes it."""

    work: Work
    switched: bool

    def commit(self) -> None:
        """From here on the environment is the new one; what it replaced is thrown away."""
        if self.switched:
            with disk_trouble(self.work.survey.prefix):
                remove_journal(self.work.directory)
                clear_workshop(self.work.held)


def switch_in(staged: Staged, plan: Plan, work: Work, context: Context) -> Switched:
    """Take the old distributions of the plan's projects away, and bring the staged ones in.

    Raises:
        UnsatisfiableError: ``in-the-way``; ``installer-failed`` if a staged file belongs outside of the environment.
        UpstreamError: ``disk-full``, ``disk-failed``; the environment is what it was.
        UsageError: ``not-writable``; ``not-replaceable`` if an old distribution has no RECORD.
    """
    if not plan.install:
        return Switched(work, switched=False)
    context.say(f"putting {len(plan.install)} wheels in place")
    survey = work.survey
    with disk_trouble(survey.prefix):
        files = EnvironmentFiles(survey)
        leaving = find_leaving(survey, frozenset(wheel.project for wheel in plan.install), files)
        trees = staged_trees(staged.roots, work, files)
        shops = {final: os.path.join(final, WORKSHOP) for tree, final in trees if tree.startswith(final + os.sep)}

        def trash_for(place: str) -> str:
            near = [shop for final, shop in shops.items() if place.startswith(final + os.sep)]
            return os.path.join(max(near, key=len) if near else work.directory, "trash")

        steps = plan_switch(trees, leaving, files.kept, files.view(), trash_for)
        for shop in (*shops.values(), work.directory):
            os.makedirs(os.path.join(shop, "trash"), exist_ok=True)
        journal = make_journal(steps, work.held.times)
        write_journal(journal, work.directory)
        try:
            carry_out_steps(journal, work.directory)
            _require_in_place(staged.hashed)
        except BaseException:
            undo_switch(work.held)
            raise
    return Switched(work, switched=True)


def _require_in_place(hashed: Sequence[HashedWheel]) -> None:
    """Look that every file that was hashed is in its place; a rename does not change what is in it.

    Raises:
        IntegrityError: ``staged-damaged``.
    """
    for wheel in hashed:
        for path in wheel.on_disk:
            if not os.path.lexists(os.path.join(wheel.directory, *path.split("/"))):
                raise IntegrityError(
                    "staged-damaged",
                    f"{path} of {wheel.project} is not in its place after the switch; all was undone",
                    hint="another program changes files in this environment; end it, and install again",
                )
