"""Bring the programs that travel along into the mirror: chosen, fetched and checked as every other wheel is."""

from __future__ import annotations

import ensurepip
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.bundle.writing.tools import PIP, Lacking
from pytorch_offline.cli.choosing import Choosing
from pytorch_offline.cli.progress import shown_progress
from pytorch_offline.cli.selection import chosen
from pytorch_offline.crawler.default_index import Reach, configured_index_url, retrying
from pytorch_offline.crawler.drift_log import DriftLog
from pytorch_offline.crawler.pip_memory import PipMemory
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.layout import ROOT, STATE_NAME
from pytorch_offline.mirror.model import WantedFile
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.transfer import PATIENCE
from pytorch_offline.mirror.wanted import wanted_files
from pytorch_offline.net import Http
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytorch_offline.cli.session import Session
    from pytorch_offline.target.model import Target


class ToolSupply:
    """Where tools come from: the default index, else this Python's own pip.

    Args:
        session: how to speak, and the mirror.
        default_index: the index to ask; None for the one that pip is configured for.
        ask: whether to ask one at all.
        reach: how the network is reached.
    """

    def __init__(
        self,
        session: Session,
        *,
        default_index: str | None,
        ask: bool,
        reach: Reach,
    ) -> None:
        self._session = session
        self._default_index = default_index
        self._ask = ask
        self._reach = reach

    def bring(self, lacking: Iterable[Lacking], machines: Mapping[str, Target]) -> None:
        """Bring what is lacking into the mirror, as far as it can be had; say what cannot."""
        for one in lacking:
            if not (self._ask and self._fetched(one, machines[one.target])) and one.name == PIP:
                self._take_own_pip(one)

    def _fetched(self, one: Lacking, machine: Target) -> bool:
        try:
            self._fetch(one, machine)
        except PytorchOfflineError as error:
            self._session.message(f"{one.name} for target {one.target} cannot be had from an index: {error}")
            return False
        return True

    def _fetch(self, one: Lacking, machine: Target) -> None:
        now = partial(datetime.now, UTC)
        with chosen(self._session, self._choosing(one, machine)) as choice:
            mirror = Mirror(self._session.mirror, work="bundle")
            with mirror.lock(waiting=self._session.message), shown_progress(self._session) as progress:
                fetch_files(
                    mirror,
                    wanted_files(choice.selections, choice.upstreams),
                    choice.http,
                    retry=PATIENCE if (retries := self._reach.retries) is None else retrying(PATIENCE, retries),
                    progress=progress,
                    now=now,
                    log=DriftLog(choice.catalogue, now=now),
                )
                mirror.publish(now=now)

    def _choosing(self, one: Lacking, machine: Target) -> Choosing:
        """Ask that index alone for the one project; no GPU has a say in it."""
        index = self._default_index
        if index is None:
            index = configured_index_url(PipMemory(self._session.mirror / STATE_NAME / "pip.json"))
        return Choosing(
            requirements=(one.name,),
            requirement_files=(),
            constraint_files=(),
            targets=(replace(machine, accelerator=None, pip=None),),
            backend="cpu",
            upstreams=(index,),
            default_index=None,
            use_default_index=False,
            channel="stable",
            pre=False,
            no_deps=True,
            offline=False,
            as_of=None,
            common=False,
            index_url=None,
            extra_index_urls=(),
            find_links=(),
            reach=self._reach,
        )

    def _take_own_pip(self, one: Lacking) -> None:
        """Take the pip that this Python's ensurepip brings; whether it suits the target is judged as of any other."""
        places = sorted(Path(ensurepip.__file__).with_name("_bundled").glob("pip-*.whl"))
        if not places:
            return
        name = parse_wheel_name(places[-1].name)
        mirror = Mirror(self._session.mirror, work="bundle")
        wanted = WantedFile(name=name, path=ROOT / name.filename, urls=(places[-1].as_uri(),))
        now = partial(datetime.now, UTC)
        try:
            with Http() as http, mirror.lock(waiting=self._session.message):
                fetch_files(mirror, [wanted], http, now=now)
                mirror.publish(now=now)
        except PytorchOfflineError as error:
            self._session.message(f"nor can this Python's own for target {one.target}: {error}")
        else:
            self._session.message(f"taken instead: pip {name.version}, which this Python brings")
