"""Installing from a crafted mirror as ``pytorch-offline install`` does, in this process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytorch_offline.cli.install import open_mirror, own_pip
from pytorch_offline.installer.destination import read_survey
from pytorch_offline.installer.model import Context, Request, Survey
from pytorch_offline.installer.steps import carry_out
from tests.installer.crafted import Crafted, linux_target, pure, torch, write_mirror
from tests.installer.surveys import context

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CLOSURE = (torch(), pure("filelock", "3.0"), pure("typing-extensions", "4.1"))


def make_mirror(root: Path, wheels: Iterable[Crafted] = CLOSURE, *, beside: Iterable[Crafted] = ()) -> Path:
    return write_mirror(root, {"node": wheels}, target=linux_target(), beside=beside)


def of_the_package() -> Context:
    return context(own_prefix=sys.prefix)._replace(own_pip=own_pip())


def install(mirror: Path, surroundings: Context | None = None, **wishes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Install, or plan with ``dry_run``, and return the document."""
    for place in {"venv", "python", "prefix"} & set(wishes):
        wishes[place] = str(wishes[place])
    request = Request(places=(str(mirror),), only_needed=True, **wishes)
    source = open_mirror([mirror], [])
    return dict(carry_out(request, surroundings or of_the_package(), source).document)


def survey_of_environment(venv: Path) -> Survey:
    return read_survey(str(venv / "bin" / "python"), context())


def versions_in(venv: Path) -> dict[str, str]:
    return {name: held.version for name, held in survey_of_environment(venv).distributions.items()}
