"""Why torch does not work here, in words: rules over what was seen, one for each known cause.

The rules are data (``causes_gpu.py``, ``causes_loading.py``): what gives a cause away in a text or among the facts,
what it means, what to do. All that hold are told, in the order of the tables: the most telling first.
"""

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Pattern, Sequence, Tuple

from pytorch_offline.bundle.format.model import CudaNeed
from pytorch_offline.installer.accelerator_fit import AcceleratorFit, kind_of_backend
from pytorch_offline.installer.causes_chinese import CAUSES_IN_CHINESE
from pytorch_offline.installer.machine_facts import MachineFacts
from pytorch_offline.installer.torch_report import TorchReport

SEEN_LENGTH = 400


class Seen(NamedTuple):
    """Everything that rules may look at.

    Args:
        report: what torch did; None where it was not tried.
        facts: what the machine shows.
        machine: the probe's description of it.
        backend: that torch of the lock was built for.
        need: of a CUDA build.
        fit: the verdict on driver and devices.
        conda: conda's own packages there, name → version.
        shadows: what another import path would find first, as sentences.
        runnable: the backends of the bundle's other locks that this machine can run.
    """

    report: Optional[TorchReport]
    facts: MachineFacts
    machine: Mapping[str, Any] = {}
    backend: Optional[str] = None
    need: Optional[CudaNeed] = None
    fit: Optional[AcceleratorFit] = None
    conda: Mapping[str, str] = {}
    shadows: Tuple[str, ...] = ()
    runnable: Tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What kind of accelerator the lock's torch is for: ``cuda``, ``rocm``, ``xpu``, ``none``."""
        return kind_of_backend(self.backend)

    @property
    def accelerator(self) -> Mapping[str, Any]:
        """The probe's description of the accelerator."""
        return self.machine.get("accelerator") or {}

    @property
    def gpu_works(self) -> bool:
        """Whether torch computed on a device."""
        return self.report is not None and any(step.finished and not step.error for step in self.report.devices)

    @property
    def gpu_missing(self) -> bool:
        """Whether torch was imported, is for a GPU, and could not use one."""
        return self.kind != "none" and self.report is not None and not self.gpu_works

    @property
    def texts(self) -> Tuple[str, ...]:
        """Every text that was seen: of torch, of libraries, of nvidia-smi."""
        own = self.report.texts if self.report is not None else ()
        return (*own, *((self.facts.nvidia_smi,) if self.facts.nvidia_smi else ()))

    def variable(self, name: str) -> Optional[str]:
        """Look a variable of the user's environment up; None if it is not set."""
        return self.facts.variables.get(name)


class Cause(NamedTuple):
    """A known cause.

    Args:
        code: its stable name.
        pattern: a regular expression that a text holds; empty for a cause that facts alone give away.
        seen: says what was seen where the facts give it away; with a pattern, an empty answer takes the cause back, and
            None leaves the text itself as what was seen.
        means: what it means, in a sentence that may name ``{driver}``, ``{cuda}``, ``{backend}``, ``{needs}``,
            ``{toolkit}``, ``{devices}``, ``{others}``.
        remedy: what to do.
        note: it is to be told even where all works, and is no reason by itself.
    """

    code: str
    means: str
    remedy: str
    pattern: str = ""
    seen: Optional[Callable[[Seen], str]] = None
    note: bool = False


class Diagnosis(NamedTuple):
    """A cause that was found: what was seen, what it means, what to do; the latter two in Chinese as well."""

    code: str
    seen: str
    means: str
    remedy: str
    means_zh: str
    remedy_zh: str
    note: bool = False


def diagnose(seen: Seen, causes: Iterable[Cause]) -> Tuple[Diagnosis, ...]:
    """Find every cause that holds, the most telling first and notes last."""
    words = words_of(seen)
    found: List[Diagnosis] = []
    for cause in causes:
        evidence = evidence_for(cause, seen)
        if evidence:
            told = (cause.means, cause.remedy, *CAUSES_IN_CHINESE.get(cause.code, (cause.means, cause.remedy)))
            means, remedy, means_zh, remedy_zh = (text.format(**words) for text in told)
            found.append(Diagnosis(cause.code, evidence, means, remedy, means_zh, remedy_zh, cause.note))
    return tuple(sorted(found, key=lambda one: one.note))


def evidence_for(cause: Cause, seen: Seen) -> str:
    """Say what gives a cause away; empty if nothing does."""
    if not cause.pattern:
        return cause.seen(seen) if cause.seen is not None else ""
    line = find_line(cause.pattern, seen.texts)
    if not line or cause.seen is None:
        return line
    beside = cause.seen(seen)
    return f"{line}; {beside}" if beside else ""


def find_line(pattern: str, texts: Sequence[str]) -> str:
    """Return the line of the texts in which a pattern is first found, shortened around it; empty if in none."""
    compiled: Pattern[str] = re.compile(pattern, re.IGNORECASE)
    for text in texts:
        match = compiled.search(text)
        if match:
            begin = text.rfind("\n", 0, match.start()) + 1
            end = text.find("\n", match.end())
            line = text[begin : end if end >= 0 else len(text)].strip()
            if len(line) > SEEN_LENGTH:
                at = max(0, match.start() - begin - SEEN_LENGTH // 4)
                line = "…" + line[at : at + SEEN_LENGTH].strip() + "…"
            return " ".join(line.split())
    return ""


def words_of(seen: Seen) -> Dict[str, str]:
    """Give the words that sentences may name."""
    machine, need = seen.accelerator, seen.need
    devices = [
        str(one.get("name") or one.get("gfx") or one.get("compute_capability")) for one in machine.get("devices") or ()
    ]
    if seen.report is not None and not devices:
        devices = [str(step.facts.get("name")) for step in seen.report.devices if step.facts.get("name")]
    fit = seen.fit
    return {
        "driver": str(machine.get("driver") or "unknown"),
        "cuda": str(machine.get("cuda") or "unknown"),
        "backend": str(seen.backend or "cpu"),
        "needs": (need.minor_floor or need.toolkit_driver or "a newer one") if need else "a newer one",
        "toolkit": str(need.toolkit_driver if need and need.toolkit_driver else "a newer one"),
        "devices": ", ".join(devices) or "the GPU",
        "others": ", ".join(seen.runnable) or "none",
        "verdict": fit.detail if fit is not None else "",
    }
