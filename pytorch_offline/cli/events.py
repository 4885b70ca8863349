"""What programs are told while a command runs: one JSON object per line. docs/events.md is the contract."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING

from pytorch_offline.cli.streams import shown_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

# Grows when a field goes or changes its meaning; new events and new fields may come without.
EVENTS_VERSION = 1


def render_event(event: str, time: datetime, facts: Mapping[str, object]) -> str:
    """Write one event as one line, in ASCII: no encoding and no terminal can garble it."""
    stamp = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
    return shown_json(json.dumps({"event": event, "time": stamp, **facts}, default=str))
