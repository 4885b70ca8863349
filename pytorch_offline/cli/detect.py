"""``pytorch-offline detect``: describe a machine as a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.cli.target_options import target_flag_options
from pytorch_offline.errors import UsageError
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.capture import probe_source, this_machine
from pytorch_offline.target.codec import render_target, safe_name, target_document, write_text_file
from pytorch_offline.target.describe import render_summary, unknown_facts
from pytorch_offline.target.pasted import target_of_pasted
from pytorch_offline.target.pasted_files import read_pasted

EPILOG = """\b
Examples:
  pytorch-offline detect                              show this machine
  pytorch-offline detect -o here.json                 write it as a target file
  pytorch-offline detect --python /opt/py310/bin/python -o py310.json
  pytorch-offline detect --standalone -o probe.py     a file to carry to another machine;
                                                      there: python3 probe.py -o gpu-node.json
  nvidia-smi | pytorch-offline detect --from-text - --preset ubuntu22.04 -o gpu-node.json
  pytorch-offline detect --from-text smi.txt ldd.txt --python-version 3.10 --platform linux_x86_64
"""


class _Greedy(click.Command):
    """A command whose ``--from-text`` takes every word up to the next option, as a shell's ``*.txt`` gives them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        spread: list[str] = []
        inside = False
        for word in args:
            if word.startswith("-") and word != "-":
                inside = word == "--from-text"
                if not inside:
                    spread.append(word)
                continue
            spread += ["--from-text", word] if inside else [word]
        return super().parse_args(ctx, spread)


@click.command("detect", cls=_Greedy, epilog=EPILOG)
@common_options
@target_flag_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the target file here; the target is named after it.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    metavar="EXE",
    help="Another interpreter of this machine, or the directory or conda name of its environment.",
)
@click.option(
    "--from-text",
    "texts",
    multiple=True,
    metavar="FILE…",
    help="Pasted output of nvidia-smi, ldd --version, /etc/os-release, uname -m, python3 -V, pip debug --verbose, "
    "pip inspect, conda info, collect_env, systeminfo, rocminfo … in any order; - is standard input.",
)
@click.option("--standalone", is_flag=True, default=False, help="Write the stand-alone detector instead (Python 3.6+).")
def command(
    session: Session,
    *,
    flags: TargetFlags,
    output: Path | None,
    python: Path | None,
    texts: tuple[str, ...],
    standalone: bool,
) -> None:
    """Describe a machine as a target: this one, another interpreter of it, or one known from pasted texts or flags."""
    chosen = [
        name for name, given in (("--python", python), ("--from-text", texts), ("--standalone", standalone)) if given
    ]
    if len(chosen) > 1:
        raise UsageError("contradiction", f"{' and '.join(chosen)} exclude each other")
    if standalone:
        _write_standalone(session, output)
        return
    notes: tuple[str, ...] = ()
    if texts:
        pasted = read_pasted(texts)
        target, notes = target_of_pasted(pasted, flags), pasted.notes
    elif flags == TargetFlags():
        target = this_machine(python)
    elif python is not None:
        target = build_target(flags, this_machine(python))
    else:
        target = build_target(flags)
    for note in notes:
        session.message(f"note: {note}")
    if output is not None:
        target = replace(target, name=safe_name(output.stem))
        write_text_file(output, render_target(target))
        session.message(f"wrote {output}")
    document = target_document(target) | {"unknown": list(unknown_facts(target)), "notes": list(notes)}
    session.result(document, render_summary(target))


def _write_standalone(session: Session, output: Path | None) -> None:
    source = probe_source().decode("ascii")
    if output is None:
        session.result({"source": source}, source.rstrip("\n"))
        return
    write_text_file(output, source)
    session.message(f"wrote {output}; on the other machine: python3 {output.name} -o NAME.json")
    session.result({"file": str(output)}, "")
