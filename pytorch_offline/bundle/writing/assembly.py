"""install.py, put together from the modules that travel (docs/adr/0021): one readable file of standard-library Python.

The modules come in the order of their imports, each below a heading, unchanged but for what one file has no use for:
their imports of each other, and the blocks that run a module as a program. Imports of the standard library are gathered
at the top. What would mean something else in one file than in many is refused: a top-level name twice, a name that
hides a builtin, an import under another name.
"""

from __future__ import annotations

import ast
import builtins
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_offline import __version__
from pytorch_offline.errors import PytorchOfflineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PACKAGE = "pytorch_offline"
ENTRY = f"{PACKAGE}.installer.command"
ENTRY_FUNCTION = "run_command_line"
# The rooms that are written to travel; whatever else is imported stays behind.
TRAVELLING = (
    f"{PACKAGE}.errors",
    f"{PACKAGE}.target.probe",
    f"{PACKAGE}.bundle.format",
    f"{PACKAGE}.bundle.reading",
    f"{PACKAGE}.installer",
)
# What an environment may hold, imported where it is asked about it.
ASKED_OF_DESTINATIONS = frozenset({"pip", "torch"})
HEADER = '''\
#!/usr/bin/env python3
"""Verify this bundle, install from it, and prove that it works: with no tool and no network.

    python3 install.py --venv DIR              into a new or existing virtual environment
    python3 install.py --python EXE            into that interpreter's environment
    python3 install.py --verify-only           read and hash everything, install nothing
    python3 install.py --help

For Python 3.6 and newer, the standard library alone. Made by pytorch-offline {version}
from its own modules, which follow one after another, each below its name.
"""

'''
FOOTER = f"""

if __name__ == "__main__":
    sys.exit({ENTRY_FUNCTION}(sys.argv[1:], None if sys.argv[0] == "-" else __file__))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TravellingModule:
    """A module, its source, and what is in it.

    Args:
        name: dotted.
        body: the source without docstring, imports and the block that runs it as a program.
        docstring: what it says of itself.
        imports: of the standard library, as (module, name); name is None for ``import module``.
        ours: of the package, as (module, name).
        bound: names that its top level binds, imports apart.
    """

    name: str
    body: str
    docstring: str
    imports: frozenset[tuple[str, str | None]]
    ours: frozenset[tuple[str, str]]
    bound: frozenset[str]


@cache
def assemble() -> str:
    """Put install.py together from the modules of this package; equal from run to run.

    Raises:
        PytorchOfflineError: ``bad-assembly`` naming what cannot be put together.
    """
    root = Path(__file__).resolve().parents[2]

    def read(name: str) -> str | None:
        path = root.joinpath(*name.split(".")[1:])
        for place in (path.with_suffix(".py"), path / "__init__.py"):
            if place.is_file():
                return place.read_text(encoding="utf-8")
        return None

    return put_together(ENTRY, read)


def put_together(entry: str, read: Callable[[str], str | None]) -> str:
    """Put modules together, beginning with what ``entry`` needs.

    Args:
        entry: the module whose ``run_command_line`` is the program.
        read: gives the source of a module by its dotted name; None if there is none.

    Raises:
        PytorchOfflineError: ``bad-assembly`` naming the module and what is wrong with it.
    """
    modules = _in_order(entry, read)
    _refuse_clashes(modules)
    imports = {("sys", None)}.union(*(module.imports for module in modules))
    parts = [HEADER.format(version=__version__), _render_imports(imports)]
    parts += [
        f"\n\n{_render_heading(module)}\n\n{module.body.strip(chr(10))}\n" for module in modules if module.body.strip()
    ]
    if not any(module.name == entry and ENTRY_FUNCTION in module.bound for module in modules):
        raise bad_assembly(f"{entry} has no {ENTRY_FUNCTION}")
    parts.append(FOOTER)
    return "".join(parts)


def bad_assembly(what: str) -> PytorchOfflineError:
    """Make the error that says why the modules cannot be put together: somebody has to change one of them."""
    return PytorchOfflineError("bad-assembly", f"install.py cannot be made: {what}")


def _in_order(entry: str, read: Callable[[str], str | None]) -> list[TravellingModule]:
    """Give the modules that the entry needs, each after those that it imports."""
    done: dict[str, TravellingModule] = {}
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in under_way:
            raise bad_assembly(f"{' imports '.join([*under_way, name])}")
        source = read(name)
        if source is None:
            raise bad_assembly(f"there is no module {name}")
        under_way.append(name)
        module = parse_module(name, source)
        for needed in sorted({needed for needed, _ in module.ours}):
            visit(needed)
        for needed, imported in sorted(module.ours):
            if imported not in done[needed].bound:
                raise bad_assembly(f"{name} imports {imported} from {needed}, which does not define it")
        under_way.pop()
        done[name] = module

    visit(entry)
    return list(done.values())


def parse_module(name: str, source: str) -> TravellingModule:
    """Take a module apart.

    Raises:
        PytorchOfflineError: ``bad-assembly``: it imports what does not travel, or in a way that one file cannot keep.
    """
    tree = ast.parse(source)
    imports: set[tuple[str, str | None]] = set()
    ours: set[tuple[str, str]] = set()
    bound: set[str] = set()
    left_out: set[int] = set()
    docstring = ast.get_docstring(tree) or ""
    for position, node in enumerate(tree.body):
        is_docstring = position == 0 and bool(docstring)
        if isinstance(node, ast.Import | ast.ImportFrom):
            _take_import(name, node, imports, ours)
        elif not (is_docstring or _is_main_block(node)):
            _refuse_inner_imports(name, node)
            bound.update(_bound_by(node))
            continue
        left_out.update(range(_first_line(node), (node.end_lineno or node.lineno) + 1))
    lines = source.splitlines()
    kept = [
        line
        for number, line in enumerate(lines, start=1)
        if number not in left_out and not line.startswith("# ruff: ")  # said to a tool about the module's own file
    ]
    return TravellingModule(
        name=name,
        body="\n".join(kept),
        docstring=docstring,
        imports=frozenset(imports),
        ours=frozenset(ours),
        bound=frozenset(bound),
    )


def _first_line(node: ast.stmt) -> int:
    """Where a statement begins, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _take_import(
    name: str, node: ast.Import | ast.ImportFrom, imports: set[tuple[str, str | None]], ours: set[tuple[str, str]]
) -> None:
    if any(alias.asname for alias in node.names):
        raise bad_assembly(f"{name}, line {node.lineno}: an import under another name")
    if isinstance(node, ast.Import):
        found: list[tuple[str, str | None]] = [(alias.name, None) for alias in node.names]
    else:
        found = [(node.module or "", alias.name) for alias in node.names]
        if node.level or node.module == "__future__" or any(alias.name == "*" for alias in node.names):
            raise bad_assembly(f"{name}, line {node.lineno}: such an import cannot be kept in one file")
    for module, imported in found:
        if module.split(".")[0] != PACKAGE:
            _require_stdlib(name, node, module)
            imports.add((module, imported))
        elif imported is None or not _travels(module):
            raise bad_assembly(f"{name}, line {node.lineno}: {module} cannot be imported so by what travels")
        else:
            ours.add((module, imported))


def _travels(module: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in TRAVELLING)


def _require_stdlib(name: str, node: ast.stmt, module: str) -> None:
    if module.split(".", maxsplit=1)[0] not in sys.stdlib_module_names:
        raise bad_assembly(f"{name}, line {node.lineno}: {module} is not of the standard library")


def _refuse_inner_imports(name: str, node: ast.stmt) -> None:
    """Let code within a module import of the standard library alone, and what a destination may have to be asked of."""
    for inner in ast.walk(node):
        modules: list[str] = []
        if isinstance(inner, ast.Import):
            modules = [alias.name for alias in inner.names]
        elif isinstance(inner, ast.ImportFrom):
            modules = [inner.module or "."]
        for module in modules:
            if inner is not node and module.split(".")[0] not in ASKED_OF_DESTINATIONS:
                _require_stdlib(name, node, module)


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def _bound_by(node: ast.stmt) -> Iterator[str]:
    """Name what a statement of the top level binds, also within try, if, with and for."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        return
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With | ast.Try | ast.If | ast.While):
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.stmt):
                yield from _bound_by(inner)
            elif isinstance(inner, ast.ExceptHandler):
                for statement in inner.body:
                    yield from _bound_by(statement)
            else:
                yield from (
                    name.id
                    for name in ast.walk(inner)
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                )


def _refuse_clashes(modules: Sequence[TravellingModule]) -> None:
    """Refuse what one file would confuse.

    Raises:
        PytorchOfflineError: ``bad-assembly`` naming every clash, so that all can be mended at once.
    """
    owners: dict[str, set[str]] = {}
    for module in modules:
        for name in module.bound:
            owners.setdefault(name, set()).add(module.name)
        for imported, attribute in module.imports:
            bound = attribute or imported.split(".")[0]
            meaning = f"{imported}.{attribute}" if attribute else f"the module {bound}"
            owners.setdefault(bound, set()).add(meaning)
    clashes = {name: places for name, places in owners.items() if len(places) > 1}
    clashes |= {name: {*places, "builtins"} for name, places in owners.items() if hasattr(builtins, name)}
    if clashes:
        listed = "; ".join(f"{name} ({', '.join(sorted(places))})" for name, places in sorted(clashes.items()))
        raise bad_assembly(f"these names would mean several things in one file: {listed}")


def _render_imports(imports: Iterable[tuple[str, str | None]]) -> str:
    """Render the gathered imports, sorted: modules first, then names out of modules."""
    modules = sorted({module for module, name in imports if name is None})
    names: dict[str, set[str]] = {}
    for module, name in imports:
        if name is not None:
            names.setdefault(module, set()).add(name)
    lines = [f"import {module}" for module in modules]
    lines += _render_from_imports(names)
    return "\n".join(lines) + "\n"


def _render_from_imports(names: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for module, imported in sorted(names.items()):
        line = f"from {module} import {', '.join(sorted(imported))}"
        if len(line) <= 120:  # noqa: PLR2004  (as the modules themselves are set)
            yield line
        else:
            yield f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(imported)) + ")"


def _render_heading(module: TravellingModule) -> str:
    path = module.name.replace(".", "/") + ".py"
    rule = "# " + "=" * 100
    said = [f"# {line}".rstrip() for line in module.docstring.splitlines()]
    return "\n".join([rule, f"# {path}", "#", *said, rule])
