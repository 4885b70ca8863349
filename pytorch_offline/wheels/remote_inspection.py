"""Read a wheel's facts out of its libraries, by ranges: the directory, then the beginnings of a few members.

It costs a few megabytes of a wheel of hundreds: the arch list stands about half way in a library of 6 to 12 MB
(compressed), what is needed of glibc within the first megabyte of each (docs/adr/0010).
"""

from __future__ import annotations

import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

from pytorch_offline.wheels.arch_list import ArchListFinder
from pytorch_offline.wheels.elf import GlibcNeedFinder
from pytorch_offline.wheels.inspection import FIRST_WITH_ARCH_LIST, Inspection, is_worth_inspecting, plan_inspection
from pytorch_offline.wheels.remote_file import RemoteFile
from pytorch_offline.wheels.remote_zip import fetch_listing, fetch_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytorch_offline.net import Http
    from pytorch_offline.wheels.filename import WheelName
    from pytorch_offline.wheels.remote_zip import Listing
    from pytorch_offline.wheels.zip_format import Member

# Compressed bytes to ask for at a time. What small libraries and most large ones need of glibc stands in the first
# window; of libtorch_cpu it takes 0.4 to 0.9 MB.
_WINDOWS = (128 * 1024, 1024 * 1024)
# The arch list is 3 to 6 MB into its member; so it takes two to four requests, and wastes one megabyte on average.
_LONG_WINDOW = 2 * 1024 * 1024
# Of the counted libraries none had its records of glibc behind the first 9 MB, of all others none behind 14 MB.
_GLIBC_WITHIN = 48 * 1024 * 1024
# A libtorch_python has 12 to 49 MB; what claims to be much larger is none.
_LARGEST_TORCH_PYTHON = 512 * 1024 * 1024


def fetch_inspection(
    http: Http,
    url: str,
    name: WheelName,
    *,
    expected_size: int | None = None,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Inspection:
    """Read a wheel's facts; what the wheel itself does not tell is None, with the reason in ``unread``.

    ``seconds`` bounds the whole reading.

    Raises:
        UpstreamError: ``ranges-not-served``, ``file-absent``, ``changed-while-read``, ``too-slow``, or what
            ``Http.get`` raises.
        IntegrityError: ``bad-archive`` or ``size-mismatch`` if the file is no such wheel.
    """
    if not is_worth_inspecting(name):
        return Inspection()
    file = RemoteFile(http, url, seconds=seconds, clock=clock)
    listing = fetch_listing(file, name, expected_size=expected_size)
    plan = plan_inspection(name, listing.members)
    archs = ArchListFinder()
    needs = {member: GlibcNeedFinder() for member in plan.libraries}
    if plan.torch_python is not None:
        _feed(file, listing, plan.torch_python, archs, needs.get(plan.torch_python))
    for member, finder in needs.items():
        if member != plan.torch_python:
            _feed(file, listing, member, None, finder)
    unread = []
    if plan.torch_python is not None and archs.found is None:
        unread.append(f"{plan.torch_python.name} holds no arch list")
    elif plan.torch_python is None and plan.has_gpu_code:
        unread.append(f"torch says for which GPUs it was built since {FIRST_WITH_ARCH_LIST}")
    elif plan.has_gpu_code is None and name.project == "torch":
        unread.append("there is no torch_python library that could hold an arch list")
    # A library that needs none of glibc's versions was read to its end; of others a part may say too little.
    long = [member.name for member, finder in needs.items() if not finder.done and member.size > _GLIBC_WITHIN]
    if long:
        unread.append(f"what {', '.join(long)} needs of glibc does not stand in its first {_GLIBC_WITHIN} bytes")
    found = [finder.need for finder in needs.values() if finder.need is not None]
    return Inspection(
        architectures=() if plan.has_gpu_code is False else archs.found,
        glibc=max(found) if found and not long else None,
        unread="; ".join(unread) or None,
    )


def _feed(
    file: RemoteFile, listing: Listing, member: Member, archs: ArchListFinder | None, glibc: GlibcNeedFinder | None
) -> None:
    """Stream a member into finders until they have what they look for, or as far as it is worth while."""
    windows: Iterable[int] = repeat(_LONG_WINDOW) if archs is not None else chain(_WINDOWS, repeat(_LONG_WINDOW))
    limit = _LARGEST_TORCH_PYTHON if archs is not None else _GLIBC_WITHIN
    taken = 0
    for piece in fetch_member(file, listing, member, windows):
        taken += len(piece)
        if archs is not None:
            archs.feed(piece)
        if glibc is not None:
            glibc.feed(piece)
        if ((archs is None or archs.done) and (glibc is None or glibc.done)) or taken > limit:
            break
