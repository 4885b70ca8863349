"""Progress for programs: what happened and where the work stands, as facts of events. docs/events.md explains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.cli.progress.board import Begun, Changed, Ended, Planned, Restarted, Said

if TYPE_CHECKING:
    from pytorch_offline.cli.progress.board import FileStanding, Happening, Standing


def document_of(happening: Happening) -> tuple[str, dict[str, object]]:
    """Give an event's name and its facts."""
    match happening:
        case Planned():
            return "plan", {
                "stage": happening.stage.value,
                "files": happening.files,
                "size": happening.size,
                "unknown_sizes": happening.unknown_sizes,
                "already_files": happening.already_files,
                "already_size": happening.already_size,
            }
        case Begun():
            return "begin", {"file": happening.file, "size": happening.size, "position": happening.position}
        case Changed():
            return "doing", {
                "file": happening.file,
                "doing": happening.doing.value,
                "host": happening.host,
                "seconds": _rounded(happening.seconds),
                "reason": happening.reason,
            }
        case Restarted():
            return "restart", {
                "file": happening.file,
                "before": happening.before,
                "position": happening.position,
            }
        case Ended():
            return "end", {
                "file": happening.file,
                "outcome": happening.outcome.value,
                "size": happening.size,
                "position": happening.position,
                "received": happening.received,
                "seconds": _rounded(happening.seconds),
                "host": happening.host,
            }
        case Said():
            return "message", {"text": happening.text}


def progress_document(standing: Standing) -> dict[str, object]:
    """Say where the work stands."""
    return {
        "stage": standing.stage.value,
        "seconds": _rounded(standing.seconds),
        "files": standing.files,
        "ended": standing.ended,
        "failed": standing.failed,
        "size": standing.size,
        "unknown_sizes": standing.unknown_sizes,
        "position": standing.position,
        "received": standing.received,
        "bytes_per_second": round(standing.speed),
        "seconds_left": _rounded(standing.seconds_left),
        "active": [_active(one, standing.now) for one in standing.active],
    }


def _active(one: FileStanding, now: float) -> dict[str, object]:
    return {
        "file": one.file,
        "size": one.size,
        "position": one.position,
        "doing": one.doing.value,
        "host": one.host,
        "seconds": None if one.until is None else _rounded(max(0.0, one.until - now)),
        "reason": one.reason,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
