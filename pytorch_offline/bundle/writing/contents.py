"""``CONTENTS.md``: what a bundle holds, for people, in words that a pager shows as well as a browser.

Everything that others wrote (METADATA, addresses, names) is shown as text: control characters and what turns the
direction of writing are escaped, and nothing of it is markup.
"""

# ruff: noqa: RUF001  (Chinese has its own punctuation)

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytorch_offline.addresses import without_credentials
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytorch_offline.bundle.format.model import BundleFile, Manifest, TargetLock
    from pytorch_offline.bundle.writing.licences import WheelTerms

CONTENTS_NAME = "CONTENTS.md"
# What a terminal obeys, what is not seen, and what turns the direction of writing.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
# What begins markup in the middle of a line. An underline within a word does not, and file names are full of them.
_MARKUP = re.compile(r"([\\`*\[\]<|])")
_HASH_WORDS = {
    "published": "published by the index",
    "computed": "computed when it was first fetched, since the index publishes none: trust on first use",
}
_INSTALLING = """\
## How to install it

It needs a Python, 3.6 or newer, and nothing else: no network, no pip. In this directory:

    python3 install.py --verify-only     # is everything here, and as it was made?
    python3 install.py --venv env        # install into a new virtual environment, and prove that torch works
    python3 install.py --help            # conda, other Pythons, volumes, signatures

## 怎样安装（离线）

目标机器只需要 Python 3.6 或更新版本，不需要网络，也不需要 pip。在本目录中运行：

    python3 install.py --verify-only     # 检查文件是否齐全、是否完好
    python3 install.py --venv env        # 安装到新的虚拟环境，并验证 torch 可用
    python3 install.py --help            # conda、其他 Python、分卷、签名等
"""


def render_contents(manifest: Manifest, terms: Mapping[str, WheelTerms]) -> bytes:
    """Render the page from a manifest and each wheel's terms, by its path."""
    return ("\n".join(_sections(manifest, terms)).rstrip("\n") + "\n").encode("utf-8")


def shown(text: str) -> str:
    r"""Write what others wrote so that it is text alone: controls as ``\xXX``, markup after a backslash."""
    return _MARKUP.sub(r"\\\1", visible(text))


def visible(text: str) -> str:
    r"""Write control characters and what is not seen as ``\xXX`` or ``\uXXXX``."""
    return _UNSHOWN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _sections(manifest: Manifest, terms: Mapping[str, WheelTerms]) -> Iterator[str]:
    wheels = [file for file in manifest.files if file.row is not None]
    users: dict[str, list[str]] = {}
    for target in manifest.targets:
        for wheel in target.wheels:
            users.setdefault(wheel.path, []).append(target.target)
    for tool in manifest.tools:
        users[tool.path] = [
            f"installing with {tool.name}" + (f" on Python {say_pythons(tool.pythons)}" if tool.pythons else "")
        ]
    yield from _summary(manifest)
    yield _INSTALLING
    yield "## What it is for\n"
    for target in manifest.targets:
        yield from _target(target, manifest)
    if manifest.base is not None:
        yield from _left_out(manifest)
    yield from _origins(wheels)
    yield from _nvidia(wheels, terms)
    yield "## Every wheel\n"
    for file in wheels:
        yield from _wheel(file, users.get(file.path, ()), terms.get(file.path))
    yield "\n## Other files\n"
    for file in manifest.files:
        if file.row is None:
            yield from (f"- {shown(file.path)}, {render_size(file.size)}", f"  sha256 {file.sha256}")


def say_pythons(versions: Sequence[str]) -> str:
    """Say Pythons for people: ``3.7 to 3.12``, or each where one between them is left out."""
    minors = [int(version.partition(".")[2]) for version in versions]
    in_a_row = len(versions) > 2 and minors == list(range(minors[0], minors[0] + len(minors)))  # noqa: PLR2004
    return f"{versions[0]} to {versions[-1]}" if in_a_row else ", ".join(versions)


def _summary(manifest: Manifest) -> Iterator[str]:
    yield "# What is in this bundle\n"
    kind = "a delta: it is of use only to whom has its base" if manifest.base is not None else "complete in itself"
    yield f"Bundle {manifest.counter} of {manifest.created}, {kind}. Written by pytorch-offline.\n"
    yield f"    id       {manifest.id}"
    yield f"    lineage  {manifest.lineage}"
    if manifest.base is not None:
        yield f"    base     {manifest.base}"
    carried = [file for file in manifest.files if file.carried]
    yield f"    size     {render_size(sum(file.size for file in carried))} in {len(carried)} files\n"


def _target(target: TargetLock, manifest: Manifest) -> Iterator[str]:
    sizes = {file.path: file for file in manifest.files}
    yield f"### {shown(target.target)}\n"
    yield f"- {shown(target.system)} {shown(target.machine)}, {shown(target.implementation)} {shown(target.python)}"
    if target.glibc is not None:
        yield f"- glibc {shown(target.glibc)} or newer"
    torch = next((wheel for wheel in target.wheels if wheel.project == "torch"), None)
    if torch is not None:
        backend = f", built for {shown(target.backend)}" if target.backend else ""
        yield f"- torch {shown(torch.version)}{backend}"
    yield from _driver(target)
    files = [sizes[wheel.path] for wheel in target.wheels if wheel.path in sizes]
    carried = sum(file.size for file in files if file.carried)
    installed = sum(wheel.installed_bytes for wheel in target.wheels)
    yield (
        f"- {len(target.wheels)} wheels, {render_size(sum(file.size for file in files))}"
        f" (of which here: {render_size(carried)}); installed they take about {render_size(installed)}"
    )
    for missing in target.missing:
        yield f"- must be there already: {shown(missing.requirement)}, for {shown(missing.required_by)}"
    yield ""


def _driver(target: TargetLock) -> Iterator[str]:
    need = target.cuda
    if need is None:
        return
    drivers = [f"{shown(need.toolkit_driver)} or newer, with which everything works"] if need.toolkit_driver else []
    if need.minor_floor:
        drivers.append(f"{shown(need.minor_floor)} at least, by minor-version compatibility")
    yield f"- CUDA {shown(need.cuda)}: NVIDIA's driver {'; '.join(drivers) or 'of its time or newer'}"
    if need.capabilities:
        newer = f", and newer ones by its PTX for {shown(need.ptx)}" if need.ptx else ""
        yield f"- GPUs of compute capability {', '.join(map(shown, need.capabilities))}{newer}"


def _left_out(manifest: Manifest) -> Iterator[str]:
    """Say what the far side has already."""
    left = [file for file in manifest.files if not file.carried]
    yield "## What it leaves out\n"
    yield f"{len(left)} files, {render_size(sum(file.size for file in left))}, which its base has:\n"
    yield from (f"- {shown(file.path)}" for file in left)
    yield ""


def _origins(wheels: Iterable[BundleFile]) -> Iterator[str]:
    """Say which directories of which indexes the wheels came from, and how far their hashes are to be trusted."""
    places: dict[str, int] = {}
    hashes: dict[str, int] = {}
    for file in wheels:
        row = _row(file)
        place = _place_of(str(row.get("origin") or "unknown"))
        places[place] = places.get(place, 0) + 1
        words = _hash_words(row)
        hashes[words] = hashes.get(words, 0) + 1
    yield "## Where the wheels came from\n"
    yield from (f"- {count} from {shown(place)}" for place, count in sorted(places.items()))
    yield "\nTheir hashes were:\n"
    yield from (f"- {words}: {count}" for words, count in sorted(hashes.items()))
    yield ""


def _place_of(origin: str) -> str:
    """Say in which directory, or with hosts that keep files by hash, on which host a file was."""
    address = without_credentials(origin)
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address.rpartition("/")[0] or address
    host, _, path = rest.partition("/")
    by_hash = re.search(r"/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/", path)
    return f"{scheme}://{host}/" if by_hash else f"{scheme}://{rest.rpartition('/')[0]}/"


def _nvidia(wheels: Iterable[BundleFile], terms: Mapping[str, WheelTerms]) -> Iterator[str]:
    """Point out what is NVIDIA's, and what it says of its own terms."""
    of_nvidia = [(file, terms[file.path]) for file in wheels if file.path in terms and terms[file.path].by_nvidia]
    holding = [(file, terms[file.path]) for file in wheels if file.path in terms and terms[file.path].nvidia_libraries]
    if not of_nvidia and not holding:
        return
    yield "## NVIDIA's software in it, and its terms\n"
    yield (
        "These are facts from the wheels themselves, and no legal advice. Handing a bundle on, also within an\n"
        "organisation, is redistribution; whether NVIDIA's terms allow it is for whoever answers for that there.\n"
    )
    for file, found in of_nvidia:
        mark = " (says that it is proprietary)" if found.proprietary else ""
        yield f"- {shown(file.path.rpartition('/')[2])}: {shown(found.said)}{mark}"
        yield from (f"  - its licence file begins: {shown(title)}" for title in found.titles)
        yield from (f"  - terms: {shown(address)}" for address in found.addresses)
        yield from (f"  - in the wheel: {shown(name)}" for name in found.files)
    for file, found in holding:
        names = ", ".join(map(shown, found.nvidia_libraries))
        yield f"- {shown(file.path.rpartition('/')[2])} holds libraries of NVIDIA's: {names}"
        yield from (f"  - terms: {shown(address)}" for address in found.addresses)
    yield ""


def _wheel(file: BundleFile, targets: Sequence[str], found: WheelTerms | None) -> Iterator[str]:
    row = _row(file)
    yield f"- **{shown(file.path.rpartition('/')[2])}**, {render_size(file.size)}" + (
        "" if file.carried else ", in the base"
    )
    if found is not None and found.summary:
        yield f"  - {shown(found.summary)}"
    yield f"  - sha256 {file.sha256}, {_hash_words(row)}"
    yield f"  - from {shown(without_credentials(str(row.get('origin') or 'unknown')))}"
    if found is not None:
        files = f"; files: {', '.join(map(shown, found.files[:3]))}" if found.files else ""
        more = f" and {len(found.files) - 3} more" if len(found.files) > 3 else ""  # noqa: PLR2004  (torch has 96)
        yield f"  - licence: {shown(found.said)}{files}{more}"
    if row.get("yanked") is not None:
        yield f"  - yanked by its publisher: {shown(str(row['yanked']) or 'no reason given')}"
    yield f"  - for {', '.join(map(shown, targets))}"


def _row(file: BundleFile) -> Mapping[str, Any]:
    return file.row or {}


def _hash_words(row: Mapping[str, Any]) -> str:
    origin = str(row.get("hash_origin"))
    return _HASH_WORDS.get(origin, shown(origin))
