"""``drift``: what was uploaded again under one name, and what upstream no longer lists."""

from __future__ import annotations

import click
from packaging.utils import InvalidName, canonicalize_name

from pytorch_offline.cli.session import Session, common_options
from pytorch_offline.crawler.as_of import parse_since
from pytorch_offline.crawler.catalogue import CATALOGUE_NAME, Catalogue
from pytorch_offline.crawler.drift import find_drift
from pytorch_offline.errors import UsageError
from pytorch_offline.matrix.drift import drift_view, wanted_drift
from pytorch_offline.matrix.view import document_of, render_csv, render_view
from pytorch_offline.mirror.layout import STATE_NAME
from pytorch_offline.moments import spell_moment

EPILOG = """\b
Examples:
  pytorch-offline drift
  pytorch-offline drift torch --since 2026-01-01
  pytorch-offline drift --csv > drift.csv
"""


@click.command(epilog=EPILOG, short_help="Show what upstream replaced or removed.")
@click.argument("project", required=False)
@click.option("--since", metavar="DATE", help="Only what was noticed on this day (UTC) or later.")
@click.option("--csv", "as_csv", is_flag=True, default=False, help="Print the rows as CSV, with nothing left out.")
@common_options
def command(session: Session, *, project: str | None, since: str | None, as_csv: bool) -> None:
    """Show which files of PROJECT upstream uploaded again under the same name, and which it no longer lists.

    The rows are what `crawl`, `select` and `fetch` noted: each hash that a page published and that a host gave, with
    the days on which it was seen. Between two readings nothing is known.
    """
    if as_csv and session.as_json:
        raise UsageError("contradiction", "--csv and --json exclude each other")
    try:
        name = None if project is None else canonicalize_name(project, validate=True)
    except InvalidName as error:
        raise UsageError("bad-project-name", f"{project!r} is not the name of a project") from error
    moment = None if since is None else spell_moment(parse_since(since))
    with Catalogue.open(session.mirror / STATE_NAME / CATALOGUE_NAME) as catalogue:
        receipts = catalogue.receipts()
        reuploads, disappearances = find_drift(catalogue.unsteady(), receipts)
        anything_read = bool(receipts) or catalogue.first_reading("") is not None
    reuploads, disappearances = wanted_drift(reuploads, disappearances, project=name, since=moment)
    if not anything_read:
        session.message(f"the mirror looked at is {session.mirror}; --mirror names another one")
    view = drift_view(reuploads, disappearances, project=name, since=moment, anything_read=anything_read)
    session.result(document_of(view), render_csv(view) if as_csv else render_view(view))
