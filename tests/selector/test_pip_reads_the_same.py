"""What pip's own reader makes of a requirements file, ours makes of it too, or says which line it does not take."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.requirements import Requirement

from pytorch_offline.cli.requirement_sources import read_location
from pytorch_offline.crawler.upstream import CHANNELS
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.asking.asked import Asked, read_asked
from tests.selector.pip_reader import CONFIGURED, PipReader, pip_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytorch_offline.selector.asking.requirements import Ask

A, B = "a" * 64, "B" * 64
WHEEL = "torch-2.4.0%2Bcu121-cp310-cp310-linux_x86_64.whl"
_NAMES_A_PLACE = re.compile(r"line \d+|includes itself|cannot be read")
ENVIRONMENT = {"PO_INDEX": "https://index.invalid/simple", "PO_NAME": "numpy"}


@pytest.fixture(scope="module")
def pip() -> Iterator[PipReader]:
    with pip_reader() as reader:
        yield reader


def of_pip(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What pip says, in common terms."""
    lines = []
    for line in answer["lines"]:
        requirement = None if line["link"] is not None else Requirement(line["requirement"])
        lines.append(
            {
                "requirement": None if requirement is None else f"{requirement.name}{requirement.specifier}",
                "extras": line["extras"] if requirement is None else sorted(requirement.extras),
                "link": line["link"],
                "marker": line["marker"],
                "constraint": line["constraint"],
                "where": re.sub(r"^-[rc] (.*) \(line (\d+)\)$", r"\1, line \2", line["comes_from"]),
                "hashes": sorted({one.lower() for one in line["sha256"]} | ({line["link_hash"]} - {None})),
            }
        )
    return {
        "lines": lines,
        "indexes": [] if answer["no_index"] else answer["index_urls"],
        "find_links": [os.path.normpath(one) if "://" not in one else one for one in answer["find_links"]],
        "no_index": answer["no_index"],
        "pre": answer["pre"],
        "hosts": sorted(set(answer["trusted_hosts"])),
        "require_hashes": answer["require_hashes"],
    }


def of_ours(asked: Asked) -> dict[str, Any]:
    """What we say, in common terms."""
    options = asked.options
    torch = [f"{one.root}/{CHANNELS[one.channel]}{one.backend}" for one in options.torch_indexes if not one.flat]
    pages = [one.root for one in options.torch_indexes if one.flat]
    indexes = [CONFIGURED if url is None else url for url in options.indexes]
    return {
        "lines": [_line(one) for one in asked.asks],
        "indexes": sorted([*indexes, *torch]),
        "find_links": sorted([*(str(one) for one in options.find_links), *pages]),
        "no_index": options.no_index is not None,
        "pre": options.pre,
        "hosts": sorted(set(options.trusted_hosts)),
        "require_hashes": options.require_hashes is True,
    }


def _line(one: Ask) -> dict[str, Any]:
    requirement, wheel = one.requirement, one.wheel
    return {
        "requirement": None if wheel is not None else f"{requirement.name}{requirement.specifier}",
        "extras": sorted(requirement.extras),
        "link": None if wheel is None else wheel.url,
        "marker": None if requirement.marker is None else str(requirement.marker),
        "constraint": one.constraint,
        "where": one.where.replace("./", ""),
        "hashes": sorted(one.sha256s),
    }


def compare(pip: PipReader, directory: Path, files: Mapping[str, str | bytes]) -> bool:
    """Have both read ``r.txt``; whether both took it. A file that we refuse must say which line it is."""
    for name, body in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
    answer = pip.read(directory / "r.txt", environment=ENVIRONMENT)
    try:
        ours = of_ours(
            read_asked(
                [], [str(directory / "r.txt")], [], read=read_location, exists=Path.exists, environment=ENVIRONMENT
            )
        )
    except UsageError as error:
        says = error.code in {"nothing-requested", "contradiction"} or _NAMES_A_PLACE.search(error.message)
        assert says, error.message  # noqa: PT017  (the error is one of two right answers)
        return False
    assert "error" not in answer, f"pip refuses what we take: {answer}"
    theirs = of_pip(answer)
    theirs["indexes"], theirs["find_links"] = sorted(set(theirs["indexes"])), sorted(theirs["find_links"])
    ours["indexes"] = sorted(set(ours["indexes"]))
    assert ours == theirs
    return True


REAL = {
    "pip freeze": "filelock==3.16.1\nfsspec==2024.9.0\ntorch==2.4.0+cu121\ntyping_extensions==4.12.2\n",
    "pip-compile": (
        "#\n# This file is autogenerated by pip-compile with Python 3.11\n#\n--index-url https://index.invalid/simple\n"
        "--extra-index-url https://download.pytorch.org/whl/cu121\n--trusted-host index.invalid\n\n"
        f"filelock==3.16.1 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n    # via torch\n"
        f"torch==2.4.0+cu121 \\\n    --hash=sha256:{A}\n    # via -r requirements.in\n\n"
        "# The following packages are considered to be unsafe in a requirements file:\n# setuptools\n"
    ),
    "uv export": (
        "# This file was autogenerated by uv via the following command:\n#    uv export\n"
        f"colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f"torch==2.4.0 ; (python_full_version < '3.12' and sys_platform == 'darwin') \\\n    --hash=sha256:{A}\n"
    ),
    "poetry export": (
        "--extra-index-url https://download.pytorch.org/whl/cpu\n\n"
        f'filelock==3.16.1 ; python_version >= "3.11" and python_version < "4.0" \\\n    --hash=sha256:{A}\n'
        f'torch==2.4.0+cpu ; python_version >= "3.11" and python_version < "4.0" \\\n    --hash=sha256:{A}\n'
    ),
    "pipenv": f"-i https://index.invalid/simple\ntorch==2.4.0; python_version >= '3.8' --hash=sha256:{A}\n",
    "tutorial": "-f https://download.pytorch.org/whl/torch_stable.html\ntorch==1.7.1+cu101\ntorchvision==0.8.2+cu101\n",
    "direct": f"torch @ https://download.pytorch.org/whl/cu121/{WHEEL}#sha256={A} ; python_version == '3.10'\n",
    "bare": f"https://download.pytorch.org/whl/cu121/{WHEEL}\n./torch-2.4.0-cp310-cp310-linux_x86_64.whl\n",
    "nested": "-r a.txt\n-c sub/c.txt\n--pre\n--extra-index-url=https://x.invalid/simple/\nx[b,a]>=1,<2",
    "variables": "--index-url ${PO_INDEX}\n${PO_NAME}<2  # ${NOT_READ}\n",
    "last index": "--extra-index-url https://x.invalid\n-i https://y.invalid --extra-index-url https://z.invalid\na\n",
    "no index": "--no-index\n-i https://x.invalid\n-f sub\na\n",
    "crlf": "a\r\nb \\\r\n --hash=sha256:" + A + "\r\n# c\r\n",
    "utf-16": ("a # ü\nb").encode("utf-16"),
    "declared": "# coding: latin-1\na # ü\n".encode("latin-1"),
    "requires hashes": f"--require-hashes\na==1 --hash sha256:{A}\n",
}
INCLUDED: dict[str, str | bytes] = {"a.txt": "a<3\n-r sub/b.txt\n", "sub/b.txt": "b\n", "sub/c.txt": "c<1\n-r b.txt\n"}


@pytest.mark.parametrize("body", REAL.values(), ids=REAL.keys())
def test_files_that_tools_and_people_write(pip: PipReader, tmp_path: Path, body: str | bytes) -> None:
    assert compare(pip, tmp_path, {**INCLUDED, "r.txt": body})


NAMES = st.sampled_from(["torch", "Torch_Vision", "numpy", "x.y-z", "${PO_NAME}", "1", "-", "a b", "ü"])
VERSIONS = st.sampled_from(["", "==2.4.0", "==2.4.0+cu121", ">=1,<2", " ~= 1.1", "===weird", "==2.*", "=2", " 2", "<"])
EXTRAS = st.sampled_from(["", "[a]", "[b,a]", " [ a ] ", "[", "[]"])
MARKERS = st.sampled_from(
    [
        "",
        "; python_version < '3.9'",
        " ;sys_platform=='linux'",
        "; extra == 'x'",
        " ; 'a b' in platform_version",
        ";",
        "; x",
    ]
)
SHAPES = st.sampled_from(
    [
        f"https://h.invalid/d/{WHEEL}",
        f"torch @ https://h.invalid/d/{WHEEL}#sha256={A}",
        f"torch[a]@https://h.invalid/d/{WHEEL} ; python_version < '3.9'",
        "./d/x-1.0-py3-none-any.whl",
        "x-1.0-py3-none-any.whl[a]",
        "file:///d/x-1.0-py3-none-any.whl",
        "git+https://h.invalid/x#egg=x",
        "./x-1.0.tar.gz",
        "-e .",
    ]
)
HASHES = st.sampled_from(
    [
        "",
        f" --hash=sha256:{A}",
        f" --hash sha256:{B} --hash=sha256:{A}",
        " --hash=md5:0",
        " --hash",
        f" \\\n  --hash=sha256:{A}",
    ]
)
OPTIONS = st.sampled_from(
    [
        "-i https://i.invalid/simple",
        "--index-url=https://i.invalid/simple",
        "-ihttps://j.invalid",
        "--pypi-url https://k.invalid",
        "--extra-index-url https://e.invalid/simple",
        "--extra-index-url 'https://f.invalid/simple' --extra-index-url=https://g.invalid",
        "--extra-index-url https://download.pytorch.org/whl/cu121",
        "-i https://download.pytorch.org/whl/nightly/cpu",
        "-f https://download.pytorch.org/whl/torch_stable.html",
        "-f sub",
        "--find-links=https://w.invalid/wheels.html",
        "-f absent",
        "--no-index",
        "--pre",
        "--all-releases :all:",
        "--prefer-binary",
        "--only-binary=:all:",
        "--no-binary :all:",
        "--trusted-host h.invalid",
        "--trusted-host h.invalid:8080 --trusted-host g.invalid",
        "--require-hashes",
        "--no-require-hashes",
        "--use-feature=fast-deps",
        "-r a.txt",
        "-r=a.txt",
        "--requirement sub/b.txt",
        "-rsub/b.txt",
        "-c sub/c.txt",
        "--constraint='sub/c.txt'",
        "-r absent.txt",
        "-r r.txt",
        "-r a.txt -c sub/c.txt",
        "-r a.txt trailing",
        "-C a=b",
        "--unknown",
        "--extra-index https://i.invalid",
        "--",
        "-x",
    ]
)
REQUIREMENT = st.builds(
    lambda *parts: "".join(parts),
    NAMES,
    EXTRAS,
    VERSIONS,
    MARKERS,
    HASHES,
    st.sampled_from(["", " # why", "#no", " --pre"]),
)
LINES = st.lists(
    st.one_of(
        REQUIREMENT,
        st.builds(lambda a, b: a + b, SHAPES, HASHES),
        OPTIONS,
        st.sampled_from(["", "# comment \\", "  # indented", "\\", "a \\", "a\\\\", "\t", "\x0c", "b # c \\"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=LINES, end=st.sampled_from(["\n", "\r\n", "\n\n"]), inner=st.sampled_from(["b\n", "--pre\n", "b==1 --pre\n"])
)
def test_drawn_files(pip: PipReader, tmp_path: Path, lines: list[str], end: str, inner: str) -> None:
    compare(pip, tmp_path, {**INCLUDED, "sub/b.txt": inner, "r.txt": end.join(lines)})


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(REQUIREMENT)
def test_one_requirement_is_taken_where_pip_takes_it(pip: PipReader, tmp_path: Path, line: str) -> None:
    taken = compare(pip, tmp_path, {"r.txt": line})
    # What we refuse on purpose: an option that pip does not read there, a hash that is none.
    if not taken and " --pre" not in line and not re.search("--hash.*#no", line):
        answer = pip.read(tmp_path / "r.txt", environment=ENVIRONMENT)
        assert "error" in answer or not answer["lines"], "we refuse what pip takes"


def test_markers_compare_as_text() -> None:
    assert str(Marker("python_version<'3'")) == 'python_version < "3"'
