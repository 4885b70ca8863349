"""Every fault at every offset, published or not, one host or two, one connection or many, fresh or resumed.

Each case is a real ``fetch_files`` from the simulator over loopback. It must end in what ``troubles.must_come`` says,
show nothing bad, leave nothing behind after success, and finish once the faults are switched off. By hand, all of it
(minutes): ``python -m tests.mirror.fault_matrix``; a slice of it is in ``test_fault_matrix.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from pytorch_offline.addresses import origin
from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.mirror import download, flow, spans, transfer
from pytorch_offline.mirror.download import Floor
from pytorch_offline.mirror.fetch import fetch_files
from pytorch_offline.mirror.probe import Probe
from pytorch_offline.mirror.sidecar import Partial, Validator, render_partial
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http, Timeouts
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.simulator.answers import Answer, Host
from pytorch_offline.simulator.bodies import FILE_TYPE, PAGE_TYPE, MemoryBody, Resource
from pytorch_offline.simulator.faults import Changed, IgnoreRange, Slow
from pytorch_offline.simulator.http_faults import Redirect
from pytorch_offline.simulator.server import Simulator
from tests.mirror.loopback import sized_wheel
from tests.mirror.power import leftovers
from tests.mirror.troubles import AHEAD, HELD, SUCCESS, Case, Duration, Effect, must_come, troubles
from tests.mirror.wheels import now, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.simulator.faults import Fault

WHEEL = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 400_000)
OTHER = sized_wheel("whl/cpu/torch-1.0+cpu-py3-none-any.whl", 390_000, seed=1)
PATH = f"/{WHEEL.path}"
SIZE = len(WHEEL.body)
MANY = 16
QUICK = RetryPolicy(tries=6, first_wait=0.005, longest_wait=0.01)
TIMEOUTS = Timeouts(connect=5.0, read=0.4)
FLOOR = Floor(size=20_000, seconds=0.4)
# Slow enough for the first connection that others are called, in pieces of 60 KB.
STEADY = Slow(bytes_per_second=1_200_000)


class OneWheel:
    """A site with one wheel on both hosts, where it is and elsewhere, and a login page."""

    def __init__(self) -> None:
        self.body = WHEEL.body

    def find(self, host: Host, path: str, *, accept: str) -> Resource | None:
        """Look an address up."""
        del accept
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        if path == "/login":
            page = MemoryBody(b"<!DOCTYPE html>\n<html><form>Who are you?</form></html>\n")
            return Resource(body=page, content_type=PAGE_TYPE, etag='"login"', last_modified=long_ago)
        if path not in {PATH, "/elsewhere"}:
            return None
        body = MemoryBody(self.body)
        etag = f'"{body.sha256[:32]}-{host}"'
        return Resource(body=body, content_type=FILE_TYPE, etag=etag, last_modified=long_ago)

    def replace(self, path: str, body: bytes) -> None:
        """Put another wheel there."""
        del path
        self.body = body


@dataclass(kw_only=True)
class Spoiling:
    """The faults of one trouble as one; notes each answer that they really changed.

    True is an answer for a further connection, None one that may be, as it goes up to the end of the file.
    """

    faults: tuple[Fault, ...]
    struck: list[bool | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, answer: Answer) -> Answer:
        """Spoil an answer."""
        spoilt = answer
        for fault in self.faults:
            spoilt = fault.apply(spoilt)
        asks_length = answer.status == 206 and (answer.start, answer.length) == (0, 1)
        if _as_sent(spoilt) != _as_sent(answer) and not asks_length:
            bounded = answer.status == 206 and answer.start + answer.length < answer.body.size
            with self.lock:
                self.struck.append(None if answer.status == 206 and not bounded else bounded)
        return spoilt


def _as_sent(answer: Answer) -> Answer:
    """An answer without what does not happen: positions that it does not reach."""
    stop = answer.start + answer.length
    return replace(
        answer,
        cut_at=None if answer.cut_at is None or answer.cut_at >= answer.length else answer.cut_at,
        stall_at=None if answer.stall_at is None or answer.stall_at >= answer.length else answer.stall_at,
        flips=tuple(position for position in answer.flips if answer.start <= position < stop),
    )


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case: its outcome, how many answers were spoilt, and what was wrong, if anything."""

    case: Case
    outcome: str
    struck: int
    problem: str | None = None


def all_cases() -> Iterator[Case]:
    """Give the whole matrix."""
    for trouble in troubles(SIZE, OTHER.body):
        for published in (True, False):
            for resumed in (False, True):
                for connections in (1, MANY):
                    base = Case(
                        trouble=trouble,
                        duration=Duration.ONCE,
                        published=published,
                        hosts=1,
                        connections=connections,
                        resumed=resumed,
                    )
                    yield from _over_time(base)


def _over_time(base: Case) -> Iterator[Case]:
    for hosts in (1, 2):
        durations = [Duration.ONCE]
        if base.trouble.effect is not Effect.REPLACED:
            durations += [Duration.EVERYWHERE] + [Duration.FIRST_HOST] * (hosts > 1)
        if base.trouble.effect is Effect.BREAKS:
            durations += [Duration.THIRD] + [Duration.BACK] * (hosts > 1)
        for duration in durations:
            yield replace(base, hosts=hosts, duration=duration)
        if base.connections > 1:
            for skip in (1, 3):
                yield replace(base, hosts=hosts, skip=skip)


def run_case(case: Case, root: Path) -> Result:
    """Carry a case out in an empty directory; ``small_blocks`` must be in force."""
    site = OneWheel()
    with Simulator(site=site) as simulator, Http(timeouts=TIMEOUTS) as http:
        mirror = Mirror(root)
        hosts = (simulator.root_url, simulator.second_url)[: case.hosts]
        wanted = WHEEL.wanted(urls=tuple(host + PATH for host in hosts))
        if not case.published:
            wanted = replace(wanted, sha256=None, size=None)
        if case.resumed:
            _leave_part(mirror, case, wanted)
        standing(simulator, case)
        spoiling = switch_on(simulator, case)

        def fetch() -> tuple[str, str | None]:
            """Give what came of it, and what is wrong with that."""
            try:
                fetch_files(mirror, [wanted], http, retry=QUICK, floor=FLOOR, now=now, connections=case.connections)
            except PytorchOfflineError as error:
                return error.code, _wrong_exit(error)
            except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
                return type(error).__name__, f"{type(error).__name__}: {error}"
            return SUCCESS, None

        outcome, problem = fetch()
        struck = spoiling.struck
        if isinstance(case.trouble.faults[0], Changed) and site.body != WHEEL.body:
            struck = [False]
        expected = must_come(case, struck)
        if problem is None and outcome not in expected:
            problem = f"came to {outcome!r}, not {sorted(expected)}"
        problem = problem or _what_shows(mirror, {WHEEL.body, site.body}, success=outcome == SUCCESS)
        if problem is None and outcome != SUCCESS:
            simulator.faults.clear()
            site.body = WHEEL.body
            later, problem = fetch()
            problem = problem or _what_shows(mirror, {WHEEL.body}, success=True)
            problem = None if problem is None else f"without faults the next run came to {later}: {problem}"
        return Result(case=case, outcome=outcome, struck=len(struck), problem=problem)


def standing(simulator: Simulator, case: Case) -> None:
    """Switch on what lies beside the file: a login page without ranges, a loop, a pace that makes helpers worth it."""
    simulator.faults.add("/login", IgnoreRange(), times=None)
    simulator.faults.add("/loop", Redirect(location="/loop"), times=None)
    if case.connections > 1:
        simulator.faults.add("*", STEADY, times=None)


def switch_on(simulator: Simulator, case: Case) -> Spoiling:
    """Switch a case's faults on."""
    spoiling = Spoiling(faults=case.trouble.faults)
    fault: Fault = case.trouble.faults[0] if isinstance(case.trouble.faults[0], Changed) else spoiling
    skip = case.skip + (0 if case.published else 1)  # the question for an unpublished length goes by
    match case.duration:
        case Duration.ONCE:
            simulator.faults.add(PATH, fault, times=1, skip=skip)
        case Duration.THIRD:
            simulator.faults.add(PATH, fault, times=None, spares=3)
        case Duration.EVERYWHERE:
            simulator.faults.add(PATH, fault, times=None)
        case Duration.FIRST_HOST | Duration.BACK:
            simulator.faults.add(PATH, fault, times=None, host=Host.FIRST)
            if case.duration is Duration.BACK:
                simulator.faults.add(PATH, fault, times=2, host=Host.SECOND)
    return spoiling


def _leave_part(mirror: Mirror, case: Case, wanted: WantedFile) -> None:
    """Put in place what a run from the first host leaves that was cut off."""
    url = wanted.urls[0]
    etag = f'"{MemoryBody(WHEEL.body).sha256[:32]}-{Host.FIRST}"'
    spans_ahead = (AHEAD,) if case.connections > 1 else ()
    partial = Partial(
        url_path=PATH,
        sha256=wanted.sha256,
        length=SIZE,
        validator=Validator(origin=origin(url), value=etag),
        completed=HELD,
        ahead=spans_ahead,
    )
    part = part_of(mirror, wanted)
    part.parent.mkdir(parents=True)
    held = bytearray(WHEEL.body[: partial.end])
    if spans_ahead:
        held[HELD : AHEAD[0]] = bytes(AHEAD[0] - HELD)
    part.write_bytes(held)
    part.with_name(f"{part.name}.json").write_text(render_partial(partial))


def part_of(mirror: Mirror, wanted: WantedFile) -> Path:
    """Say where a file's bytes are kept while they come."""
    import hashlib

    key = wanted.sha256 or hashlib.sha256(str(wanted.path).encode()).hexdigest()
    return mirror.partial / f"{key}.part"


def _wrong_exit(error: PytorchOfflineError) -> str | None:
    integrity = error.code in {"hash-mismatch", "size-mismatch", "bad-wheel"}
    wanted = 4 if integrity else 3
    return None if error.exit_code == wanted else f"{error.code} ends with {error.exit_code}, not {wanted}"


def _what_shows(mirror: Mirror, right: set[bytes], *, success: bool) -> str | None:
    seen = tree(mirror.root)
    for path, body in seen.items():
        if path.endswith(".whl") and body not in right:
            return f"{path} is bad, and shows"
    listed = [str(path) for path in mirror.read_files()]
    if listed != [path for path in seen if path.endswith(".whl")]:
        return f"listed are {listed}, which is not what shows"
    if (str(WHEEL.path) in seen) is not success:
        return "it does not show" if success else "it shows, although it failed"
    left = {path for path in leftovers(mirror.root) if path.split("/")[0] != "rejected"}
    return f"left behind: {sorted(left)}" if success and left else None


@contextmanager
def small_blocks() -> Iterator[None]:
    """Make a small file worth several connections at once, and spare the disk; for the whole process."""
    small = {
        (spans, "SHORTEST_BLOCK"): 72 * 1024,  # worthwhile, as real ones are
        (spans, "LONGEST_BLOCK"): 96 * 1024,
        (spans, "WORTH_SHARING"): 64 * 1024,
        (download, "WORTH_HELPING"): 144 * 1024,
        (download, "WORTH_SECONDS"): 0.0,
        (transfer, "WORTH_HELPING"): 144 * 1024,
        (flow, "Probe"): lambda most: Probe(most=most, wanted=min(4, most)),
        (flow, "WINDOW"): 0.02,
        (os, "fsync"): lambda _: None,
    }
    patches = [mock.patch.object(module, name, value) for (module, name), value in small.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def run_all(cases: Sequence[Case], *, at_once: int) -> Iterator[Result]:
    """Carry many cases out, several at once."""
    with (
        small_blocks(),
        tempfile.TemporaryDirectory(prefix="fault-matrix-") as scratch,
        ThreadPoolExecutor(at_once) as pool,
    ):
        jobs = [pool.submit(run_case, case, Path(scratch) / str(number)) for number, case in enumerate(cases)]
        for job in jobs:
            yield job.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix, or the cases whose name has all of some words; 1 if any did not survive."""
    parser = argparse.ArgumentParser(description="Run the fault matrix.")
    parser.add_argument("words", nargs="*", help="only cases whose name has all of these")
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args(arguments)
    cases = [case for case in all_cases() if all(word in case.name for word in options.words)]
    results = []
    for result in run_all(cases, at_once=options.at_once):
        results.append(result)
        if result.problem is not None:
            _say(f"FAILED {result.case.name} (struck {result.struck}): {result.problem}")
        if len(results) % 500 == 0:
            _say(f"{len(results)} of {len(cases)}")
    survivors = [result for result in results if result.problem is None]
    struck = [result for result in results if result.struck]
    spoilt = sum(result.struck for result in results)
    _say(f"{len(cases)} cases, {len(survivors)} survived; {len(struck)} were struck, {spoilt} answers spoilt")
    _say(", ".join(f"{code}: {count}" for code, count in Counter(result.outcome for result in results).most_common()))
    never = {case.trouble.name for case in cases} - {result.case.trouble.name for result in struck}
    _say(f"never struck: {sorted(never)}")
    return int(len(survivors) != len(cases))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
