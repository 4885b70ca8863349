"""Judge builds by what is inside them, which no tag tells: for which GPUs, and for which glibc.

The true answer is in the wheel, at the cost of a few megabytes by ranges, so a wheel is read only when its turn comes,
best candidate first, and only where the answer decides something. One judge serves a whole selection, so no wheel is
asked twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.selector.model import EvidenceSource, KernelEvidence, Rejection
from pytorch_offline.selector.reasons import Reason
from pytorch_offline.selector.rules import architectures, glibc_fit

if TYPE_CHECKING:
    from pytorch_offline.selector.model import Candidate, Offers
    from pytorch_offline.selector.rules.glibc_fit import GlibcVersion
    from pytorch_offline.target.model import Libc, Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.inspection import Inspection

# After so many lists in a row that agreed with the tables, what the tables refuse is no longer read, only what they
# admit: a Tesla K40 would otherwise cost sixty readings on the way down from torch 2.7 to 1.3. Each is some 8 MB.
READINGS_BEFORE_TRUST = 4


class BuildJudge:
    """Says of candidates why they cannot run on the target, or None.

    Args:
        forced: the user has chosen the backend, so that its kernels are no longer a reason to refuse it.
    """

    def __init__(self, target: Target, offers: Offers, *, forced: bool) -> None:
        self._target = target
        self._offers = offers
        self._forced = forced
        self._agreed = 0
        self._needs_agreed = 0
        self._needs: dict[str, tuple[GlibcVersion | None, str]] = {}
        self._inspections: dict[str, Inspection] = {}
        self._evidence: dict[str, KernelEvidence | None] = {}
        self._judged: dict[str, Rejection | None] = {}

    def judge(self, candidate: Candidate) -> Rejection | None:
        """Say why a candidate cannot run, None if it can; the wheel may be read for it."""
        url = candidate.file.link.url
        if url not in self._judged:
            self._judged[url] = (
                self._glibc(candidate)
                or (None if self._forced else self._kernels(candidate))
                or self._unheard_of_need(candidate)
            )
        return self._judged[url]

    def judge_by_table(self, candidate: Candidate) -> Rejection | None:
        """Say what is known without reading the wheel."""
        url = candidate.file.link.url
        backend = candidate.backend
        if url in self._judged or self._forced or backend is None or not self._in_question(candidate, backend):
            return self._judged.get(url)
        evidence = architectures.evidence_by_table(candidate.file.name, backend)
        return self._refused(candidate, backend, evidence)

    def evidence(self, candidate: Candidate) -> KernelEvidence | None:
        """Say which kernels a candidate has, and how that is known; None if that is in question nowhere."""
        backend = candidate.backend
        if backend is None or not self._in_question(candidate, backend):
            return None
        url = candidate.file.link.url
        if url not in self._evidence:
            self._evidence[url] = self._learn(candidate, backend)
        return self._evidence[url]

    def unserved(self, candidate: Candidate) -> str | None:
        """Say for which device a candidate has no kernels, whether or not it was forced."""
        evidence = self.evidence(candidate)
        if evidence is None or candidate.backend is None:
            return None
        return architectures.unserved_device(evidence, candidate.backend, self._target)

    def describe(self, candidate: Candidate) -> str | None:
        """Say in words which of its kernels serve the target; None if that is in question nowhere, or not so."""
        evidence = self.evidence(candidate)
        if evidence is None or candidate.backend is None or self.unserved(candidate) is not None:
            return None
        return architectures.describe_served(evidence, candidate.backend, self._target)

    def unmeasured(self, candidate: Candidate) -> str | None:
        """Say that nobody knows which glibc a candidate needs, where the target's may be too old; None elsewhere."""
        if not self._glibc_in_question(candidate) or self._glibc_need(candidate)[0] is not None:
            return None
        why = self._inspect(candidate).unread or "it names none"
        return f"which glibc {candidate.file.name.filename} needs is not known: its tag promises nothing, and {why}"

    def describe_glibc(self, candidate: Candidate) -> str | None:
        """Say which glibc a candidate needs, where its tag does not and the target's is old; None elsewhere."""
        if not self._glibc_in_question(candidate):
            return None
        need, how = self._glibc_need(candidate)
        return None if need is None else f"needs glibc {need[0]}.{need[1]} ({how}), which its tag does not say"

    def _in_question(self, candidate: Candidate, backend: Backend) -> bool:
        return architectures.is_in_question(candidate.file.name, backend, self._target)

    def _kernels(self, candidate: Candidate) -> Rejection | None:
        reason = self.unserved(candidate)
        return None if reason is None else candidate.rejected(Reason.GPU_ARCHITECTURE, reason)

    def _refused(self, candidate: Candidate, backend: Backend, evidence: KernelEvidence | None) -> Rejection | None:
        reason = None if evidence is None else architectures.unserved_device(evidence, backend, self._target)
        return None if reason is None else candidate.rejected(Reason.GPU_ARCHITECTURE, reason)

    def _learn(self, candidate: Candidate, backend: Backend) -> KernelEvidence | None:
        name = candidate.file.name
        by_table = architectures.evidence_by_table(name, backend)
        refused = self._refused(candidate, backend, by_table) is not None
        if refused and self._agreed >= READINGS_BEFORE_TRUST:
            return architectures.evidence_by_table(
                name, backend, f"{self._agreed} wheels that were read agreed with it"
            )
        inspection = self._inspect(candidate)
        if inspection.architectures is None:
            why = f"the wheel could not be read: {inspection.unread or 'it holds no list'}"
            return architectures.evidence_by_table(name, backend, why)
        by_wheel = architectures.evidence_by_wheel(inspection.architectures)
        # What a toolkit could compile is no claim that the build has it: only its refusals can be right or wrong.
        if refused or (by_table is not None and by_table.source is EvidenceSource.TABLE):
            agrees = refused == (self._refused(candidate, backend, by_wheel) is not None)
            self._agreed = self._agreed + 1 if agrees else 0
        return by_wheel

    def _glibc(self, candidate: Candidate) -> Rejection | None:
        libc = self._target.libc
        if libc is None or not self._glibc_in_question(candidate):
            return None
        reason = glibc_fit.lacking_glibc(libc, *self._glibc_need(candidate))
        return None if reason is None else candidate.rejected(Reason.GLIBC, reason)

    def _unheard_of_need(self, candidate: Candidate) -> Rejection | None:
        """Refuse a weakly labelled wheel that itself asks for more than any known build, on a target that is newer.

        Its need is looked at where the wheel was read for its kernels anyway, or where no table knows such a build.
        """
        libc, name = self._target.libc, candidate.file.name
        if libc is None or self._glibc_in_question(candidate) or not glibc_fit.is_weakly_labelled(name):
            return None
        read_already = candidate.file.link.url in self._inspections
        if not read_already and glibc_fit.need_by_table(candidate)[0] is not None:
            return None
        reason = glibc_fit.lacking_glibc(libc, self._inspect(candidate).glibc, "measured in the wheel")
        return None if reason is None else candidate.rejected(Reason.GLIBC, reason)

    def _glibc_in_question(self, candidate: Candidate) -> bool:
        return glibc_fit.is_in_question(candidate.file.name, self._target.libc)

    def _glibc_need(self, candidate: Candidate) -> tuple[GlibcVersion | None, str]:
        libc = self._target.libc
        if libc is None or libc.name != "glibc":
            return None, ""  # nothing needs to be read: it is not for such a system at all
        url = candidate.file.link.url
        if url not in self._needs:
            self._needs[url] = self._learn_need(candidate, libc)
        return self._needs[url]

    def _learn_need(self, candidate: Candidate, libc: Libc) -> tuple[GlibcVersion | None, str]:
        by_table = glibc_fit.need_by_table(candidate)
        refused = glibc_fit.lacking_glibc(libc, *by_table) is not None
        if refused and self._needs_agreed >= READINGS_BEFORE_TRUST:
            return by_table
        need = self._inspect(candidate).glibc
        if need is None:
            return by_table
        agrees = refused == (libc.version < need)
        self._needs_agreed = self._needs_agreed + 1 if agrees else 0
        return need, "measured in the wheel"

    def _inspect(self, candidate: Candidate) -> Inspection:
        url = candidate.file.link.url
        if url not in self._inspections:
            self._inspections[url] = self._offers.inspect(candidate)
        return self._inspections[url]
