"""Tools that fetch one file, given half of it: they must go on where it ends."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.clients.ways import Place

# curl says how much came, wget shows the answer's status.
TOOLS = {
    "curl": ("curl", "--silent", "--show-error", "--fail", "-C", "-", "-w", "%{size_download}\n", "-o", "FILE", "URL"),
    "wget": ("wget", "--no-verbose", "--server-response", "-c", "-O", "FILE", "URL"),
}
TYPED = {"curl": "curl -C - -O MIRROR/whl/…/torch-….whl", "wget": "wget -c MIRROR/whl/…/torch-….whl"}


def resume(tool: str, place: Place, python: str, directory: Path, *, within: Sequence[str] = ()) -> tuple[bool, str]:
    """Let a tool fetch the second half of torch's wheel; say whether it did just that, and what it said."""
    url = place.torch(python, plus="%2B")
    whole = (place.root / url.removeprefix(f"{place.url}/").replace("%2B", "+")).read_bytes()
    file = directory / "torch.whl"
    directory.mkdir(parents=True)
    file.write_bytes(whole[: len(whole) // 2])
    command = [word.replace("FILE", str(file)).replace("URL", url) for word in TOOLS[tool]]
    done = subprocess.run([*within, *command], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    rest = str(len(whole) - len(whole) // 2)
    partly = done.stdout.strip() == rest if tool == "curl" else "206" in said
    return done.returncode == 0 and partly and file.read_bytes() == whole, said


def find(tool: str) -> bool:
    """Whether this machine has it."""
    return shutil.which(tool) is not None
