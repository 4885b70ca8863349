"""The installer's values: what is asked for, where it goes, what is there, what will be done.

Versions of Python and of programs are text here: the far side compares them by ``version_numbers`` alone, since the
rules of PEP 440 stay on the connected machine (docs/adr/0021).
"""

import re
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.format.model import LockedWheel, Manifest, TargetLock, Tool
from pytorch_offline.bundle.reading.signature import SignatureStatus

# PEP 440, "Normalization": other spellings of one and the same version.
VERSION_FORM = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre_number>[0-9]*))?"
    r"(?P<post>-(?P<bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?"
)
PRE_SPELLINGS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


class Request(NamedTuple):
    """What a user asks for.

    Args:
        places: the directories that hold the bundle: itself, or its volumes, in any order.
        places_named: whether the user named them; else it is where install.py lies, and only what belongs to it counts.
        python: the interpreter to install for, or the base of ``venv``.
        venv: the virtual environment to install into, created if it is missing.
        prefix: an environment, virtual or conda's, by its directory.
        projects: only these, normalised, and what they need; empty for the whole lock.
        target: the lock to use, by its target's name; None to find the one that fits.
        program: what puts the files in place, ``pip`` or ``uv``.
        only_needed: leave those files of the bundle unread that this machine does not need.
        allowed_signers: whose signatures count, a file as ``ssh-keygen`` reads it; None for the files that
            ``bundle/reading/pins.py`` looks for.
        pin: from now on trust the key that signed the bundle, where nobody is trusted yet.
        allow_unsigned: accept what is not signed, although somebody is trusted.
        allow_older: accept a bundle that is older than the last one seen here.
        evidence: where the evidence is written too, beside the environment's own.
        compile: whether byte code is made; None for what the program would do: pip does, uv does not.
        dry_run: check everything and tell the plan; change nothing.
        verify_only: check every file of the bundle, and look at no destination.
        prove_only: put nothing in place; prove what is there.
        repair: put right what is damaged of the bundle, where it lies, and look at no destination.
        repair_into: put it together anew in this directory instead.
        export_manifest: only write down what lies here, to this file.
    """

    places: Tuple[str, ...]
    places_named: bool = True
    python: Optional[str] = None
    venv: Optional[str] = None
    prefix: Optional[str] = None
    projects: Tuple[str, ...] = ()
    target: Optional[str] = None
    program: str = "pip"
    only_needed: bool = False
    allowed_signers: Optional[str] = None
    pin: bool = False
    allow_unsigned: bool = False
    allow_older: bool = False
    evidence: Optional[str] = None
    compile: Optional[bool] = None
    dry_run: bool = False
    verify_only: bool = False
    prove_only: bool = False
    repair: bool = False
    repair_into: Optional[str] = None
    export_manifest: Optional[str] = None


class Context(NamedTuple):
    """What surrounds an installation, and differs between the stand-alone and the package.

    Args:
        environment: the variables that the user's shell gave, untouched; ``clean_environment`` makes others of them.
        program_text: gives the text of ``install.py``, which is run under the destination's interpreter too.
        now: the clock, in seconds since the epoch.
        say: takes a line about what is going on.
        warn: takes a sentence that the user should read.
        own_prefix: the environment that the package runs in, no destination by accident; None for the stand-alone.
        own_pip: a pip of another environment that can be run with ``--python``, by its command and version.
        wanted: names the projects of a lock that are wanted, where ``Request.projects`` does not say it; raises
            ``UnsatisfiableError`` if the lock does not hold them.
    """

    environment: Mapping[str, str]
    program_text: Callable[[], str]
    now: Callable[[], float]
    say: Callable[[str], None]
    warn: Callable[[str], None]
    own_prefix: Optional[str] = None
    own_pip: Optional[Tuple[Tuple[str, ...], str]] = None
    wanted: Optional[Callable[[TargetLock], Tuple[str, ...]]] = None


class Distribution(NamedTuple):
    """An installed distribution, as its information directory describes it.

    Args:
        name: normalised.
        version: as its metadata spells it.
        information: the path of its ``*.dist-info`` or ``*.egg-info``.
        installer: what INSTALLER says, e.g. ``pip`` or ``conda``; empty where it says nothing.
        record: whether it has a RECORD, by which it can be taken away again.
        requires: its ``Requires-Dist`` as written.
    """

    name: str
    version: str
    information: str
    installer: str = ""
    record: bool = True
    requires: Tuple[str, ...] = ()


class Shadow(NamedTuple):
    """Something that a normal run of the destination's Python would import in the place of what is installed.

    Args:
        project: normalised; empty for ``sitecustomize`` and the like, which change every run.
        version: that it has there; empty where it has none.
        place: the directory it lies in.
        cause: ``user site``, ``PYTHONPATH``, or a variable or file by its name.
    """

    project: str
    version: str
    place: str
    cause: str


class Survey(NamedTuple):
    """What an environment is and holds, as its own interpreter says (``survey.py``, run there).

    Args:
        executable: ``sys.executable``.
        python: its full version, ``3.11.7``.
        prefix: ``sys.prefix``.
        base_prefix: ``sys.base_prefix``; another than ``prefix`` in a virtual environment.
        paths: where installers put what: ``sysconfig.get_paths()``.
        writable: whether this user can put files there.
        externally_managed: PEP 668's marker file, where there is one.
        bundled_pip: the pip wheel that its ensurepip brings along.
        makes_environments: whether it has the ``venv`` module.
        pip: the version of its own pip.
        conda: whether it is a conda environment.
        conda_base: whether it is conda's own.
        conda_packages: what conda says it owns there, project name → version.
        distributions: by normalised name.
        shadows: what a normal run finds before them.
        machine: the target file's value for this machine, as the probe makes it.
    """

    executable: str
    python: str
    prefix: str
    base_prefix: str
    paths: Mapping[str, str]
    writable: bool
    externally_managed: Optional[str]
    bundled_pip: Optional[str]
    makes_environments: bool
    pip: Optional[str]
    conda: bool
    conda_base: bool
    conda_packages: Mapping[str, str]
    distributions: Mapping[str, Distribution]
    shadows: Tuple[Shadow, ...]
    machine: Mapping[str, Any]

    @property
    def virtual(self) -> bool:
        """Whether it is a virtual environment."""
        return self.prefix != self.base_prefix


class Destination(NamedTuple):
    """Where things go.

    Args:
        interpreter: the environment's own, or the base's while ``creates`` is to be created.
        creates: the virtual environment that will be created; None if the destination exists.
        chosen: how it was come by, for people, e.g. ``--venv`` or ``VIRTUAL_ENV``.
    """

    interpreter: str
    creates: Optional[str]
    chosen: str


class Misfit(NamedTuple):
    """A rule by which a lock does not fit a destination; ``driver`` and ``device`` a user may overrule.

    Args:
        rule: ``implementation``, ``python``, ``platform``, ``tags``, ``glibc``, ``markers``, ``driver``, ``device`` or
            ``requirement``.
        detail: what the lock needs and what is here.
    """

    rule: str
    detail: str

    def __str__(self) -> str:
        return "{}: {}".format(*self)


class Finding(NamedTuple):
    """Something that is not as it should be, found before or after: a failure, or only a warning.

    Args:
        check: what was looked at, e.g. ``space``, ``conflicts``, ``files``, ``torch``.
        subject: of what, e.g. a project or a directory.
        detail: what is wrong, in words.
        fails: whether it keeps the installation from being done, or from being proven.
        hint: what to do about it.
    """

    check: str
    subject: str
    detail: str
    fails: bool = True
    hint: str = ""


class Program(NamedTuple):
    """What will put the files in place.

    Args:
        name: ``pip`` or ``uv``.
        version: of it; empty where it is not known before it runs.
        whose: where it comes from, for people, e.g. ``the destination's``.
        arguments: what the destination's interpreter is called with to run it, e.g. ``("-I", "-m", "pip")``.
        command: what runs it from outside instead, e.g. ``("/usr/bin/uv",)``; a pip is then told ``--python``.
        tool: that it travels along; whoever stages lays it ready and runs it from there.
    """

    name: str
    version: str
    whose: str
    arguments: Tuple[str, ...] = ()
    command: Tuple[str, ...] = ()
    tool: Optional[Tool] = None

    def __str__(self) -> str:
        return " ".join(word for word in (self.whose, self.name, self.version) if word)


class Plan(NamedTuple):
    """What will be done: everything judged, nothing changed yet.

    Args:
        request: what the user asks for.
        manifest: of the bundle.
        lock: that was chosen.
        chosen: why it was, for people; empty where there was no choice.
        tolerated: why it does not fit, where the user named it all the same.
        destination: where it goes.
        survey: what is there, or in the base of what will be created.
        install: the wheels to put in place, sorted by project.
        keep: those that are there already, byte for byte, sorted by project.
        program: what puts them in place; None where nothing has to be.
        needed_bytes: what the destination's file system must have free.
        findings: warnings of the preflight.
        signature: who signed the bundle, in words.
        signer: what is known of who made the bundle.
    """

    request: Request
    manifest: Manifest
    lock: TargetLock
    chosen: str
    tolerated: Tuple[Misfit, ...]
    destination: Destination
    survey: Survey
    install: Tuple[LockedWheel, ...]
    keep: Tuple[LockedWheel, ...]
    program: Optional[Program]
    needed_bytes: int
    findings: Tuple[Finding, ...]
    signature: Tuple[str, ...] = ()
    signer: Optional[SignatureStatus] = None

    @property
    def wheels(self) -> Tuple[LockedWheel, ...]:
        """All wheels that will be there, sorted by project."""
        return tuple(sorted(self.install + self.keep, key=lambda wheel: wheel.project))


def version_numbers(text: str) -> Tuple[int, ...]:
    """Read the release numbers that a version begins with, to be compared: ``3.13.0rc1`` is (3, 13, 0)."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def project_name(text: str) -> str:
    """Normalise a project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def same_version(one: str, other: str) -> bool:
    """Whether two spellings are of one version: ``2021.01`` is 2021.1, but ``2.4.0+cpu`` is not 2.4.0."""
    return canonical_version(one) == canonical_version(other)


def canonical_version(text: str) -> Tuple[object, ...]:
    """Bring a version into a form in which equal ones are equal: ``1.0.0-RC1`` is ``1.0rc1``.

    What is no version of PEP 440 stands for itself.
    """
    match = VERSION_FORM.fullmatch(text.strip().lower())
    if match is None:
        return (text.strip(),)
    release = [int(part) for part in match.group("release").split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    pre, local = match.group("pre"), match.group("local")
    post = None if match.group("post") is None else int(match.group("bare") or match.group("post_number") or 0)
    dev = None if match.group("dev") is None else int(match.group("dev_number") or 0)
    parts = re.split(r"[-_.]", local) if local else []
    return (
        int(match.group("epoch") or 0),
        tuple(release),
        None if pre is None else (PRE_SPELLINGS.get(pre, pre), int(match.group("pre_number") or 0)),
        post,
        dev,
        tuple(int(part) if part.isdigit() else part for part in parts),
    )
