"""What became of ``torch_trial.py``: its steps, and how its process ended; and that process, started and bounded."""

import json
import os
import signal
import subprocess
import threading
from typing import IO, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pytorch_offline.installer.surroundings import clean_environment
from pytorch_offline.installer.torch_trial import RECORD_SEPARATOR

# The part of our text that runs there, by its name.
TORCH_PART = "torch-proof"
# A hung driver must not hang the installer for ever. Importing torch from a cold network file system takes minutes, and
# so does compiling PTX for each of eight GPUs; more than half an hour is no waiting that ends.
TORCH_SECONDS = 1800
# A process in the kernel's hands cannot be killed; it is left behind after this.
DYING_SECONDS = 20
# What is kept of the output: every record of a trial of many GPUs, and the end of whatever libraries print.
MAX_RECORDS = 10000
MAX_LINE = 65536
TAIL_LINES = 40


class TrialStep(NamedTuple):
    """One step of the trial.

    Args:
        name: e.g. ``import``, ``cpu product``, ``cuda:0``.
        finished: False if the process ended in the middle of it.
        seconds: how long it took.
        facts: what it found.
        error: what it raised; empty if nothing.
        at: where, innermost last.
        warnings: what was warned of.
        passed: what it had come to before it ended or raised.
    """

    name: str
    finished: bool
    seconds: float = 0.0
    facts: Mapping[str, Any] = {}
    error: str = ""
    at: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()
    passed: Tuple[str, ...] = ()


class TorchReport(NamedTuple):
    """The trial as a whole.

    Args:
        steps: in the order in which they were begun.
        status: the exit status; negative the signal that ended it; None where it never ended.
        timed_out: it was ended because it took longer than ``TORCH_SECONDS``.
        tail: the last lines that were no records, e.g. of a crash.
        seconds: of all.
    """

    steps: Tuple[TrialStep, ...]
    status: Optional[int]
    timed_out: bool = False
    tail: Tuple[str, ...] = ()
    seconds: float = 0.0

    def step(self, name: str) -> Optional[TrialStep]:
        """Find a step by its name."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def version(self) -> Optional[str]:
        """What torch says that it is; None if it was not imported."""
        imported = self.step("import")
        return None if imported is None or imported.error else imported.facts.get("version")

    @property
    def devices(self) -> Tuple[TrialStep, ...]:
        """The steps of single devices, ``cuda:0`` and so on."""
        return tuple(step for step in self.steps if step.name.startswith(("cuda:", "xpu:")) or step.name == "mps")

    @property
    def ended(self) -> str:
        """How it ended, in words; empty if as it should."""
        last = next((step.name for step in self.steps if not step.finished), "")
        where = f" during {last!r}" if last else ""
        if self.timed_out:
            return f"did not end within {TORCH_SECONDS} s{where}"
        if self.status is None:
            return f"never ended{where}"
        if self.status < 0:
            return f"was killed by {name_of_signal(-self.status)}{where}"
        return f"ended with status {self.status}{where}" if last or (self.status and not self.steps) else ""

    @property
    def texts(self) -> Tuple[str, ...]:
        """Every error, warning and stray line: what rules look into."""
        found: List[str] = []
        for step in self.steps:
            found.extend(text for text in (step.error, *step.warnings) if text)
        return (*found, *self.tail)


def name_of_signal(number: int) -> str:
    """Name a signal: ``SIGILL``; on Windows its number is an exception's code."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def parse_records(lines: Sequence[str]) -> Tuple[TrialStep, ...]:
    """Make steps of the trial's records; what is no record of its shape is passed over."""
    steps: Dict[str, TrialStep] = {}
    for line in lines:
        try:
            record = json.loads(line)
            if "begin" in record:
                steps[str(record["begin"])] = TrialStep(str(record["begin"]), False)  # noqa: FBT003
            elif "passed" in record:
                step = steps[str(record["on"])]
                steps[step.name] = step._replace(
                    passed=(*step.passed, str(record["passed"])), facts=dict(record.get("facts") or {})
                )
            elif "end" in record:
                step = steps[str(record["end"])]
                steps[step.name] = step._replace(
                    finished=True,
                    seconds=float(record.get("seconds") or 0.0),
                    facts=dict(record.get("facts") or step.facts),
                    error=str(record.get("error") or ""),
                    at=tuple(str(one) for one in record.get("at") or ()),
                    warnings=tuple(str(one) for one in record.get("warnings") or ()),
                )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(steps.values())


class TrialOutput:
    """Collects a trial's output from its pipe, in bounded memory."""

    def __init__(self) -> None:
        self.records: List[str] = []
        self.tail: List[str] = []

    def read(self, stream: IO[bytes]) -> None:
        """Read to the end; long lines in pieces."""
        for line in iter(lambda: stream.readline(MAX_LINE), b""):
            text = line.decode("utf-8", "replace").strip(" \t\r\n")  # the separator is white space to Python
            if text.startswith(RECORD_SEPARATOR) and len(self.records) < MAX_RECORDS:
                self.records.append(text[1:])
            elif text:
                self.tail = [*self.tail[1 - TAIL_LINES :], text[:1000]]


def run_trial(
    interpreter: str,
    projects: Sequence[str],
    program: str,
    *,
    environment: Mapping[str, str],
    work: str,
    now: Any,  # noqa: ANN401  (a clock: () -> float)
    seconds: float = TORCH_SECONDS,
) -> TorchReport:
    """Run the trial under an interpreter and wait for it, but not for ever.

    Args:
        interpreter: the destination's.
        projects: of the lock.
        program: the text of ``install.py``, handed over by standard input.
        environment: the user's.
        work: a directory for whatever drivers and libraries want to keep; it goes away afterwards.
        now: a clock in seconds.
        seconds: the limit.
    """
    surroundings = clean_environment(environment, work)
    for name in ("CUDA_CACHE_PATH", "MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR", "SYCL_CACHE_DIR"):
        surroundings[name] = work
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):
        surroundings[name] = work
    before = now()
    process = subprocess.Popen(
        [interpreter, "-I", "-B", "-", TORCH_PART, *projects],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=work,
        env=surroundings,
        start_new_session=os.name == "posix",
    )
    output = TrialOutput()
    feeder = threading.Thread(target=feed_program, args=(process.stdin, program.encode("utf-8")), daemon=True)
    reader = threading.Thread(target=output.read, args=(process.stdout,), daemon=True)
    timed_out = False
    try:
        feeder.start()
        reader.start()
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        status = process.poll()
        if status is None:
            end_process_group(process)
            status = process.poll()
        reader.join(DYING_SECONDS)
        if not reader.is_alive() and process.stdout is not None:
            process.stdout.close()
    return TorchReport(parse_records(output.records), status, timed_out, tuple(output.tail), round(now() - before, 3))


def feed_program(pipe: Optional[IO[bytes]], program: bytes) -> None:
    """Hand the program over; an interpreter that cannot start has closed the pipe."""
    if pipe is None:
        return
    try:
        with pipe:
            pipe.write(program)
    except OSError:
        pass


def end_process_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and what it started, and wait a little: one that hangs in the kernel does not go."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(DYING_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        pass
