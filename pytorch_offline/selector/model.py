"""The selector's values: what is asked for, what was chosen and why, what was rejected and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.wheels.versions import release_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.crawler.model import IndexFile
    from pytorch_offline.selector.reasons import Reason
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.inspection import Inspection
    from pytorch_offline.wheels.metadata import CoreMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectWheel:
    """One exact wheel and where it is.

    Args:
        name: what the file name states.
        url: the address as it goes on the wire, without fragment; it may hold a user and a password.
        path: the address's path, decoded once.
        sha256: the hash that the address, or a lock, says.
        size: in bytes, as a lock says.
        requires_python: as a lock says.
        upload_time: ISO 8601, as a lock says.
        where: the place that asks for it, for messages.
    """

    name: WheelName
    url: str
    path: str
    where: str
    sha256: str | None = None
    size: int | None = None
    requires_python: str | None = None
    upload_time: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for.

    Args:
        requirements: the roots, in the order given.
        constraints: bounds that apply to a project only if it is needed.
        backend: the backend that is forced, None for automatic choice.
        pre: admit pre-releases everywhere.
        pre_family: admit pre-releases of torch's family: what the channels ``nightly`` and ``test`` are for.
        no_deps: choose the roots alone.
        wheels: the very wheels that were asked for by address; no other serves their projects.
        hashes: by project, the sha256 digests of which its file must have one.
        require_hashes: whether every wheel of the closure must be pinned and have such a hash (pip's hash-checking
            mode).
    """

    requirements: tuple[Requirement, ...]
    constraints: tuple[Requirement, ...] = ()
    backend: Backend | None = None
    pre: bool = False
    no_deps: bool = False
    wheels: tuple[DirectWheel, ...] = ()
    hashes: Mapping[NormalizedName, frozenset[str]] = field(default_factory=dict, hash=False)
    require_hashes: bool = False
    pre_family: bool = False

    @property
    def bounds(self) -> tuple[Requirement, ...]:
        """All that the user says of versions: requirements, then constraints."""
        return (*self.requirements, *self.constraints)

    def admits_pre(self, project: NormalizedName) -> bool:
        """Whether pre-releases of a project are admitted unasked."""
        return self.pre or (self.pre_family and project in family_projects())


class Source(StrEnum):
    """Which index served a file."""

    UPSTREAM = "upstream"
    DEFAULT_INDEX = "default-index"
    FIND_LINKS = "find-links"
    DIRECT = "direct"  # asked for by its address


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A wheel that fits the target's tags.

    Args:
        file: the wheel, as its index offers it.
        source: which index that was.
        backend: the backend that it was built for; None if it serves any.
        rank: the position of its best tag in the target's list; lower is better.
    """

    file: IndexFile
    source: Source
    backend: Backend | None
    rank: int

    @property
    def project(self) -> NormalizedName:
        """The project, normalised."""
        return self.file.name.project

    @property
    def version(self) -> Version:
        """The version, with its local label."""
        return self.file.name.version

    @property
    def release(self) -> Version:
        """The version without its local label, which every build of it has."""
        return release_of(self.file.name.version)

    def rejected(self, reason: Reason, detail: str) -> Rejection:
        """Give the rejection of this wheel by a rule."""
        return Rejection(project=self.project, file=self.file, backend=self.backend, reason=reason, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A wheel, or a whole backend, that was not chosen, and the rule that it failed.

    ``file`` is None where a backend was passed over without reading its pages; ``backend`` None where the wheel serves
    any.
    """

    project: NormalizedName
    file: IndexFile | None
    backend: Backend | None
    reason: Reason
    detail: str

    @property
    def rule(self) -> str:
        """The detail without the backend that it begins with: what loses by one rule has this in common."""
        return self.detail.removeprefix(f"{self.backend} ")


class Rejections:
    """The wheels of a project that were rejected, judged when somebody asks for them.

    A page lists a thousand wheels for other machines; a choice tells of those alone that have its own version or a
    newer one, and a refusal of all.

    Args:
        judge: gives the rejections of the versions that a rule admits.
    """

    def __init__(self, judge: Callable[[Callable[[Version], bool]], Iterable[Rejection]]) -> None:
        self._judge = judge
        self._all: tuple[Rejection, ...] | None = None

    @classmethod
    def known(cls, rejections: Iterable[Rejection]) -> Self:
        """Rejections that are at hand already."""
        known = tuple(rejections)
        return cls(lambda admits: (one for one in known if one.file is None or admits(one.file.name.version)))

    def __iter__(self) -> Iterator[Rejection]:
        if self._all is None:
            self._all = tuple(self._judge(lambda _: True))
        return iter(self._all)

    def of_versions(self, admits: Callable[[Version], bool]) -> Iterable[Rejection]:
        """Give the rejections of the versions that a rule admits."""
        return self._judge(admits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What there is of one project: candidates in no order, and what was rejected. ``known`` if any page lists it."""

    candidates: tuple[Candidate, ...]
    rejected: Rejections
    known: bool
    find_sources: Callable[[], frozenset[Version]] = frozenset

    @property
    def sources(self) -> frozenset[Version]:
        """The versions of which a page lists a source distribution; those are never built here."""
        return self.find_sources()

    @classmethod
    def of_all(cls, offers: Sequence[Offer]) -> Self:
        """Put offers of one project together."""
        return cls(
            candidates=tuple(candidate for offer in offers for candidate in offer.candidates),
            rejected=Rejections(lambda admits: [one for offer in offers for one in offer.rejected.of_versions(admits)]),
            known=any(offer.known for offer in offers),
            find_sources=lambda: frozenset(version for offer in offers for version in offer.sources),
        )


class Offers(Protocol):
    """The port through which the resolver sees the indexes."""

    def offer(self, project: NormalizedName, backends: Sequence[Backend]) -> Offer:
        """Say what the indexes have of a project; a family project is looked for on these backends' pages."""

    def metadata(self, candidate: Candidate) -> CoreMetadata:
        """Return the METADATA of this very wheel."""

    def inspect(self, candidate: Candidate) -> Inspection:
        """Say what the libraries of this very wheel say: GPU architectures, glibc. It never raises.

        It may cost megabytes: ask only where a decision depends on it, the best candidate first.
        """

    def walk_ahead(self, candidates: Iterable[Candidate]) -> None:
        """Begin to read the METADATA of candidates of which the better ones were in vain, and return at once.

        It changes no answer either.
        """

    def read_ahead(self, wanted: Mapping[NormalizedName, SpecifierSet], backend: Backend) -> None:
        """Read side by side what will be asked next one by one: offers, and METADATA of the best wheel of each.

        It changes no answer, only when it is read; what cannot be read is told when it is asked for.
        """


class EvidenceSource(StrEnum):
    """How it is known for which GPUs a build has native code: its own list, the table, or its toolkit's limits."""

    WHEEL = "wheel"
    TABLE = "table"
    TOOLKIT = "toolkit"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEvidence:
    """For which GPUs a torch build has native code, and how that is known.

    ``architectures`` are spelt as ``torch.cuda.get_arch_list()`` prints them (``sm_70``, ``compute_90``, ``gfx942``);
    where the source is the toolkit, they are what the build can have at most. ``remark`` is the source in words.
    """

    architectures: tuple[str, ...]
    source: EvidenceSource
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One wheel of the closure.

    ``specifier`` is what all parents together ask of the version. ``required_by`` names the parents with the
    requirement each of them states; a root's parent is None. ``why`` says in words why this very file. ``kernels``
    says for which GPUs it was built, None where that is not in question.
    """

    candidate: Candidate
    metadata: CoreMetadata | None  # None only with no_deps, which reads no metadata
    extras: frozenset[NormalizedName]
    specifier: SpecifierSet
    required_by: tuple[tuple[NormalizedName | None, str], ...]
    why: str
    kernels: KernelEvidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The closure of exact wheels for one target, sorted by project; ``warnings`` are sentences for the user."""

    target: Target
    request: Request
    backend: Backend | None
    choices: tuple[Choice, ...]
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...] = ()
