from __future__ import annotations

import ast
import subprocess
from typing import TYPE_CHECKING

import pytest

from pytorch_offline import __version__
from pytorch_offline.bundle.writing.assembly import ENTRY, assemble, put_together
from pytorch_offline.errors import PytorchOfflineError
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = "pytorch_offline.errors"
FORMAT = "pytorch_offline.bundle.format.values"


def together(**modules: str) -> str:
    """Put crafted modules together: ``entry``, ``errors``, ``values``."""
    names = {"entry": ENTRY, "errors": ERRORS, "values": FORMAT}
    sources = {names[key]: text for key, text in modules.items()}
    return put_together(ENTRY, sources.get)


def refused(**modules: str) -> str:
    with pytest.raises(PytorchOfflineError) as caught:
        together(**modules)
    assert caught.value.code == "bad-assembly"
    return caught.value.message


WRONG = f"from {ERRORS} import Wrong\n"
NEEDS_F = f"from {FORMAT} import f\n"
RUN = "def run_command_line(arguments, started):\n    return 0\n"


def test_modules_follow_in_the_order_of_their_imports_with_imports_at_the_top() -> None:
    text = together(
        entry=f'"""The program."""\n\nimport os\nfrom {FORMAT} import VALUE\n\n# a remark\nX = VALUE\n\n\n{RUN}',
        values=f'"""Values."""\n\nfrom typing import (\n    List,\n    Any,\n)\n{WRONG}VALUE = Wrong\n',
        errors='"""Errors."""\n\nimport os\n\n\nclass Wrong(Exception):\n    """It went wrong."""\n',
    )
    order = [text.index(part) for part in ("import os", "# The program.", "X = VALUE")]
    assert order == sorted(order)
    assert text.index("class Wrong") < text.index("VALUE = Wrong") < text.index("X = VALUE")
    assert text.count("import os\n") == 1
    assert "from typing import Any, List\n" in text
    assert "pytorch_offline." not in text.partition('"""\n\nimport')[2]
    assert "# a remark\n" in text
    assert '"""It went wrong."""' in text
    compile(text, "install.py", "exec")


def test_what_runs_a_module_as_a_program_is_left_out() -> None:
    text = together(entry=f"{RUN}\n\nif __name__ == '__main__':\n    run_command_line([], None)\n    print('x')\n")
    assert text.count("__main__") == 1
    assert "print('x')" not in text


def test_it_says_what_it_is() -> None:
    text = assemble()
    assert text.startswith("#!/usr/bin/env python3\n")
    said = ast.get_docstring(ast.parse(text)) or ""
    assert "--verify-only" in said
    assert __version__ in said


@pytest.mark.parametrize(
    ("entry", "values", "says"),
    [
        (f"{NEEDS_F}{RUN}", "import os as system\n\ndef f(): ...\n", "another name"),
        (f"from {FORMAT} import f as g\n{RUN}", "def f(): ...\n", "another name"),
        (f"import {FORMAT}\n{RUN}", "def f(): ...\n", "cannot be imported so"),
        (
            f"{NEEDS_F}{RUN}",
            "import requests\n\ndef f(): ...\n",
            "requests is not of the",
        ),
        (
            f"{NEEDS_F}{RUN}",
            "def f():\n    import requests\n",
            "requests is not of the",
        ),
        (f"{NEEDS_F}{RUN}", "from . import model\n\ndef f(): ...\n", "cannot be kept"),
        (f"{NEEDS_F}{RUN}", "from __future__ import annotations\n\ndef f(): ...\n", "cannot be kept"),
        (f"{NEEDS_F}{RUN}", "from os import *\n\ndef f(): ...\n", "cannot be kept"),
        (f"from {FORMAT} import missing\n{RUN}", "def f(): ...\n", "does not define"),
        (f"from pytorch_offline.net import Http\n{RUN}", "", "cannot be imported so"),
        (f"{NEEDS_F}X = 1\n{RUN}", "X = 1\n\ndef f(): ...\n", "X ("),
        (f"{NEEDS_F}import os\n{RUN}", "os = 1\n\ndef f(): ...\n", "os ("),
        (
            f"{NEEDS_F}import datetime\n{RUN}",
            "from datetime import datetime\n\ndef f(): ...\n",
            "datetime (",
        ),
        (f"{NEEDS_F}{RUN}", "def f(): ...\n\ndef open(): ...\n", "open ("),
        (
            f"{NEEDS_F}try:\n    X = 1\nexcept OSError:\n    Y = 2\n{RUN}",
            "if 1:\n    Y = 2\n\ndef f(): ...\n",
            "Y (",
        ),
        (f"{NEEDS_F}", "def f(): ...\n", "run_command_line"),
    ],
)
def test_what_one_file_would_confuse_is_refused(entry: str, values: str, says: str) -> None:
    assert says in refused(entry=entry, values=values)


def test_modules_that_need_each_other_are_refused() -> None:
    assert "imports" in refused(entry=f"{NEEDS_F}{RUN}", values=f"from {ENTRY} import f\n\ndef f(): ...\n")


def test_a_module_that_is_not_there_is_refused() -> None:
    assert "there is no module" in refused(entry=f"{NEEDS_F}{RUN}")


def test_it_is_equal_from_run_to_run() -> None:
    first = assemble()
    assemble.cache_clear()
    assert assemble() == first


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_it_runs_under_every_python_without_a_warning(version: str, tmp_path: Path) -> None:
    path = tmp_path / "install.py"
    path.write_text(assemble(), encoding="utf-8")
    command = [str(interpreter(version)), "-W", "error", "-I", str(path), "--help"]
    done = subprocess.run(
        command, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--verify-only" in done.stdout
    assert not done.stderr
