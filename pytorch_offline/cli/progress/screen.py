"""The block that is drawn on a terminal: one line for all bytes, one for each file under way.

tqdm's rules measure and cut text (a Chinese sign takes two columns). Its bars are not used here, as one for all pages
is in ``crawl``: each is redrawn by the thread that moves it, says nothing of what is waited for, and several of them
leave their remains on a terminal that is made narrower. What we draw is ASCII, which no encoding and no font lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm.utils import disp_len, disp_trim

from pytorch_offline.cli.progress.words import activity, count, duration, speed
from pytorch_offline.cli.streams import shown
from pytorch_offline.mirror.progress import Doing, Stage
from pytorch_offline.selector.explaining.render import render_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytorch_offline.cli.progress.board import FileStanding, Standing

# Beyond this a line is harder to read than useful; a bar that is longer tells no more.
_WIDEST = 120
_BAR_WIDTH = 20
# The first line needs no bar where it would leave no room for the figures.
_NARROW = 60
# A file's size has room here.
_WIDE = 100
# torchvision-0.19.0+cu121 and its like: which project, version and build it is.
_SHORTEST_NAME = 25
# What stays free of the terminal's height: the command above, and room to see that it scrolls.
_ROWS_KEPT = 2
_LABELS = {
    Stage.STOCK: "checking",
    Stage.FETCH: "fetching",
    Stage.VERIFY: "reading",
    Stage.COMPARE: "comparing",
    Stage.PUBLISH: "publishing",
    Stage.IMPORT: "copying",
}


def render_screen(standing: Standing, columns: int, rows: int) -> list[str]:
    """Draw where the work stands, in lines that are narrower than ``columns``, fewer than ``rows``."""
    width = max(1, min(columns - 1, _WIDEST))
    lines = [_trimmed(_total_line(standing, width), width)]
    room = max(0, rows - _ROWS_KEPT - len(lines))
    # Those that have most to come are looked at longest; they stay where they are while others come and go.
    active = standing.active
    if len(active) > room:
        shown, hidden = active[: max(0, room - 1)], len(active) - max(0, room - 1)
    else:
        shown, hidden = active, 0
    lines += [_file_line(one, standing.now, width) for one in shown]
    if hidden and room:
        lines.append(_trimmed(f"  and {count(hidden)} more", width))
    return lines


def _total_line(standing: Standing, width: int) -> str:
    """Say how far all is; what matters least goes first where there is no room."""
    whole = not standing.unknown_sizes and standing.position >= standing.size
    figures = {
        "what": _LABELS[standing.stage],
        "files": f"{standing.ended}/{standing.files}",
        "share": _percent(standing.position, None if standing.unknown_sizes else standing.size),
        "bytes": f"{render_size(standing.position)}/{_size(standing.size, standing.unknown_sizes)}",
        "speed": "" if whole else speed(standing.speed),
        "left": "" if whole or standing.seconds_left is None else f"{duration(standing.seconds_left)} left",
        "failed": f"{standing.failed} failed" if standing.failed else "",
    }
    text = _joined(figures)
    for least in ("what", "files", "speed", "bytes"):
        if len(text) > width:
            del figures[least]
            text = _joined(figures)
    if width < _NARROW or not standing.size or standing.unknown_sizes:
        return text
    line = f"{text}  {_bar(standing.position / standing.size, min(_BAR_WIDTH, width - len(text) - 2))}".rstrip()
    there = f"{count(standing.already_files)}, {render_size(standing.already_size)} already there"
    return f"{line}  {there}" if standing.already_files and len(line) + len(there) + 2 <= width else line


def _joined(figures: Mapping[str, str]) -> str:
    return "  ".join(figure for figure in figures.values() if figure)


def _file_line(one: FileStanding, now: float, width: int) -> str:
    """Say how far one file is: its name, as much of it as there is room for, and figures to the right of it."""
    figures = _percent(one.position, one.size) or render_size(one.position)
    what = _one_line(activity(one, now))
    if one.doing is Doing.RECEIVING and one.size is not None and width >= _WIDE:
        figures = f"{figures} of {render_size(one.size):>8}"
    right = f"  {figures:>4}  {what}"
    # Half for the name; where that is too little for one, what is done gives way, the percents never do.
    most = max(width // 2 - 2, min(_SHORTEST_NAME, width - 9))
    label = shortened(_one_line(one.file.rpartition("/")[2]), most)
    return _trimmed(f"  {label}{' ' * (most - disp_len(label))}{right}", width)


def shortened(name: str, width: int) -> str:
    """Shorten a wheel's name to so many columns: which project, version and build it is stands in front.

    The tags behind tell the least apart, since most files are for one machine.
    """
    if disp_len(name) <= width:
        return name
    bare = name.removesuffix(".whl")
    if disp_len(bare) <= width:
        return bare
    return disp_trim(bare, max(0, width - 2)) + ".."


def _percent(position: int, size: int | None) -> str:
    """Say the share in whole percents, 100 only when all is there."""
    if not size:
        return ""
    return f"{min(100, position * 100 // size)}%"


def _bar(share: float, width: int) -> str:
    if width < 5:  # noqa: PLR2004  (a bar of three signs says nothing)
        return ""
    full = round(min(1.0, max(0.0, share)) * (width - 2))
    return f"[{'#' * full}{' ' * (width - 2 - full)}]"


def _size(size: int, unknown: int) -> str:
    return f"{render_size(size)}+?" if unknown else render_size(size)


def _trimmed(text: str, width: int) -> str:
    return text if disp_len(text) <= width else disp_trim(text, width)


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
