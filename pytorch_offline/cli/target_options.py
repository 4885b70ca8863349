"""The options that say which machine is to be served, shared by every command that chooses for one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from pytorch_offline.cli.session import Session
from pytorch_offline.errors import UsageError
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_offline.target.model import Target


class Names(click.types.StringParamType):
    """Names that hold spaces: several in one variable are parted by commas."""

    envvar_list_splitter: ClassVar[str] = ","


_FLAGS = (
    click.option(
        "--preset",
        metavar="NAME",
        help="A distribution or container image: ubuntu22.04, rockylinux:9, nvidia/cuda:12.2.2-runtime-ubuntu22.04. "
        "Gives the C library and, where it has one, the default Python; x86_64 unless --platform says otherwise.",
    ),
    click.option("--python-version", metavar="X.Y[.Z]", help="CPython of the target, e.g. 3.10 or 3.10.12."),
    click.option("--abi", metavar="ABI", help="Exact ABI tag, e.g. cp313t, cp37m."),
    click.option("--free-threaded", is_flag=True, default=False, help="The free-threaded build (3.13 and newer)."),
    click.option(
        "--platform",
        metavar="TAG",
        help="linux_x86_64, linux_aarch64, manylinux_2_28_x86_64, win_amd64, win_arm64, macosx_14_0_arm64 …",
    ),
    click.option("--glibc", metavar="X.Y", help="The target's glibc, e.g. 2.35 (`ldd --version` tells)."),
    click.option("--accelerator", metavar="KIND", help="none, cuda, rocm, xpu or mps; none says that there is no GPU."),
    click.option("--driver", metavar="VERSION", help="NVIDIA kernel driver, e.g. 535.104.05."),
    click.option("--cuda", metavar="X.Y", help="User-mode CUDA that nvidia-smi shows, e.g. 12.2."),
    click.option(
        "--gpu",
        "gpus",
        type=Names(),
        metavar="NAME",
        multiple=True,
        help="Product name, e.g. A100; repeat for each kind.",
    ),
    click.option(
        "--compute-capability",
        "compute_capabilities",
        metavar="X.Y",
        multiple=True,
        help="Instead of --gpu, e.g. 8.0; repeat for each kind.",
    ),
    click.option("--gfx", metavar="GFX", multiple=True, help="AMD GPU target, e.g. gfx90a; repeat for each kind."),
)


def target_flag_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags that describe a target, and hand it them as ``flags``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:  # noqa: ANN401  (click passes by keyword)
        values = {name: options.pop(name) for name in TargetFlags.__dataclass_fields__}
        function(*args, flags=TargetFlags(**values), **options)

    decorated: Callable[..., None] = wrapper
    for option in reversed(_FLAGS):
        decorated = option(decorated)
    return decorated


def target_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--target`` and the flags that describe a target, and hand it ``targets``, one or more."""

    @click.option(
        "--target",
        "target_files",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="A target file, from `detect` or pex, or a text that describes a machine (as for detect --from-text); "
        "repeat for several machines. Flags override its facts.  "
        "[default: this machine, if no flag describes another]",
    )
    @target_flag_options
    @functools.wraps(function)
    def wrapper(*args: Any, target_files: tuple[Path, ...], flags: TargetFlags, **options: Any) -> None:  # noqa: ANN401
        targets, notes = resolve_targets(target_files, flags)
        for note in notes:
            next(item for item in args if isinstance(item, Session)).message(f"note: {note}")
        function(*args, targets=targets, **options)

    return wrapper


def resolve_targets(files: Sequence[Path], flags: TargetFlags) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Find the targets that the options mean: files, each overridden by the flags; else the flags; else this machine.

    With them go notes for people, on texts that disagree.

    Raises:
        UsageError: ``duplicate-target-name`` if two files would share a name; or what reading and building
            object to.
    """
    if not files:
        if flags != TargetFlags():
            return (build_target(flags),), ()
        from pytorch_offline.target.capture import this_machine  # noqa: PLC0415  (flags and files need no probe)

        return (this_machine(),), ()
    from pytorch_offline.target.pasted_files import read_described_target  # noqa: PLC0415  (flags need no reader)

    names = [safe_name(path.stem) for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "duplicate-target-name",
            f"two target files are called {twice[0]}",
            facts={"files": ", ".join(map(str, files))},
            hint="targets are named after their files, and locks after their targets; rename one",
        )
    read = [read_described_target(path, flags) for path in files]
    return tuple(target for target, _ in read), tuple(note for _, notes in read for note in notes)
