"""``install.py``: the modules that travel, one after another in one file (docs/adr/0021).

Imports are gathered at the top, each module gets a heading, and nothing else is changed: who reads the file reads the
modules. A top-level name that two modules give is refused, since the later one would take the earlier one's place.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline.errors import PytorchOfflineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = "pytorch_offline"
ROOT = Path(__file__).parents[2]
# The module whose imports, and theirs, make the file, and the call that it ends with.
FIRST = f"{PACKAGE}.installer.command"
HEAD = '''\
#!/usr/bin/env python3
"""Install this bundle with no network and nothing but Python 3.6 or newer, and prove that it works.

    python3 install.py --help

Put together from the modules of pytorch-offline that are named below; their tests are there.
"""
'''
TAIL = """
if __name__ == "__main__":
    sys.exit(run_command_line(sys.argv[1:], None if sys.argv[0] == "-" else __file__))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A travelling module: its name, its text without imports, what it imports of the standard library and of ours."""

    name: str
    body: str
    plain: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    ours: tuple[str, ...]
    gives: tuple[str, ...]


@functools.cache
def assemble() -> str:
    """Put ``install.py`` together; the same modules give the same text.

    Raises:
        PytorchOfflineError: ``bad-assembly`` where the modules cannot be put together.
    """
    modules = list(in_order(FIRST))
    _refuse_clashes(modules)
    plain = sorted({name for module in modules for name in module.plain} | {"sys"})
    names: dict[str, set[str]] = {}
    for module in modules:
        for source, name in module.names:
            names.setdefault(source, set()).add(name)
    imports = [f"import {name}" for name in plain]
    imports += [f"from {source} import {', '.join(sorted(names[source]))}" for source in sorted(names)]
    parts = [HEAD, "\n".join(imports) + "\n"]
    for module in modules:
        rule = "# " + "-" * 77
        parts.append(f"\n\n{rule}\n# {module.name}\n{rule}\n\n{module.body.strip()}\n")
    return "".join([*parts, "\n", TAIL])


def in_order(first: str) -> Iterator[Module]:
    """Give a module after all that it imports of ours, each once."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[Module]:
        if name in seen:
            return
        seen.add(name)
        module = read_module(name)
        for needed in module.ours:
            yield from visit(needed)
        yield module

    return visit(first)


def read_module(name: str) -> Module:
    """Read a module's text and take its imports out.

    Raises:
        PytorchOfflineError: ``bad-assembly`` for an import in a form that one file cannot have.
    """
    path = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    plain, names, ours, gives = [], [], [], []
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if any(alias.asname for alias in statement.names):
                raise PytorchOfflineError("bad-assembly", f"{name} imports something under another name")
            if isinstance(statement, ast.Import):
                plain += [alias.name for alias in statement.names]
            elif (statement.module or "").split(".")[0] == PACKAGE:
                ours.append(statement.module or "")
            else:
                names += [(statement.module or "", alias.name) for alias in statement.names]
            for number in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
                lines[number - 1] = ""
        else:
            gives += _given_by(statement)
    body = "".join(line for line in lines if not line.startswith("# ruff: "))
    body = body.split('\nif __name__ == "__main__":')[0]
    return Module(name=name, body=body, plain=tuple(plain), names=tuple(names), ours=tuple(ours), gives=tuple(gives))


def _given_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    nodes = [node for target in targets if target is not None for node in ast.walk(target)]
    return [node.id for node in nodes if isinstance(node, ast.Name)]


def _refuse_clashes(modules: Sequence[Module]) -> None:
    givers: dict[str, set[str]] = {}
    for module in modules:
        for name in module.gives:
            givers.setdefault(name, set()).add(module.name)
    clashes = {name: ", ".join(sorted(by)) for name, by in sorted(givers.items()) if len(by) > 1}
    if clashes:
        raise PytorchOfflineError("bad-assembly", "two modules give the same name", facts=clashes)
