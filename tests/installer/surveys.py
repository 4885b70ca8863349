"""Surveys, locks and contexts made by hand, for rules that take values."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.model import LockedWheel, Missing, TargetLock
from pytorch_offline.bundle.writing.assembly import assemble
from pytorch_offline.installer.model import Context, Distribution, Survey
from pytorch_offline.target.codec import target_document
from pytorch_offline.wheels.filename import parse_wheel_name
from tests.installer.crafted import linux_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytorch_offline.target.model import Target


def context(environment: Mapping[str, str] | None = None, *, own_prefix: str | None = None) -> Context:
    def ignore(line: str) -> None:
        del line

    return Context(
        environment=dict(os.environ if environment is None else environment),
        program_text=assemble,
        now=time.time,
        say=ignore,
        warn=ignore,
        own_prefix=own_prefix,
    )


def survey(target: Target | None = None, held: Sequence[Distribution] = (), **changes: Any) -> Survey:  # noqa: ANN401
    target = target or linux_target()
    site = "/env/lib/python3.10/site-packages"
    return Survey(
        executable="/env/bin/python",
        python=target.marker_environment["python_full_version"],
        prefix="/env",
        base_prefix="/usr",
        paths={"purelib": site, "platlib": site, "scripts": "/env/bin"},
        writable=True,
        externally_managed=None,
        bundled_pip=None,
        makes_environments=True,
        pip=None,
        conda=False,
        conda_base=False,
        conda_packages={},
        distributions={distribution.name: distribution for distribution in held},
        shadows=(),
        machine=target_document(target),
    )._replace(**changes)


def held(name: str, version: str = "1.0", **changes: Any) -> Distribution:  # noqa: ANN401
    information = f"/env/lib/python3.10/site-packages/{name}-{version}.dist-info"
    return Distribution(name, version, information, "pip")._replace(**changes)


def locked(
    filename: str, *, directory: str = "whl", needs: tuple[str, ...] = (), python: str | None = None
) -> LockedWheel:
    name = parse_wheel_name(filename)
    return LockedWheel(
        project=name.project,
        version=str(name.version),
        path=f"{directory}/{filename}",
        tags=tuple(sorted(map(str, name.tags))),
        needs=needs,
        requires_python=python,
        installed_bytes=4096,
    )


def lock(
    *filenames: str,
    target: str = "node",
    python: str = "3.10",
    markers: Mapping[str, tuple[str, ...]] | None = None,
    glibc: str | None = None,
    backend: str | None = None,
    missing: tuple[Missing, ...] = (),
    wheels: tuple[LockedWheel, ...] = (),
) -> TargetLock:
    return TargetLock(
        target=target,
        pylock=f"locks/pylock.{target}.toml",
        system="Linux",
        machine="x86_64",
        implementation="CPython",
        python=python,
        markers=markers or {},
        glibc=glibc,
        backend=backend,
        cuda=None,
        oldest_pip="18.1",
        wheels=wheels or tuple(locked(filename) for filename in filenames),
        missing=missing,
    )
