"""Serve the small upstream until interrupted: ``python -m pytorch_offline.simulator --help``."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec

_EXISTING = click.Path(path_type=Path, exists=True)


@click.command()
@click.option("--era", default="2026-08", show_default=True, help="The date whose pages are served.")
@click.option("--wheel", "wheels", type=(str, _EXISTING), multiple=True, metavar="DIRECTORY FILE", help="A real wheel.")
@click.option("--only", is_flag=True, default=False, help="Serve the wheels named and nothing else of torch's family.")
@click.option("--replay", type=_EXISTING, default=None, help="Serve the recorded pages of this directory instead.")
@click.option("--at", default="latest", show_default=True, help="With --replay: the newest content up to this day.")
def main(*, era: str, wheels: tuple[tuple[str, Path], ...], only: bool, replay: Path | None, at: str) -> None:
    """Serve a small download.pytorch.org/whl on loopback; print its addresses, then wait to be interrupted."""
    if replay is not None:
        simulator = Simulator.replaying(replay, at=at)
    else:
        spec = Spec.default()
        if only:
            spec = Spec(offer for offer in spec.offers() if offer.directory == "simple")
        for directory, path in wheels:
            spec.add_wheel(directory, path.name, body=path)
        simulator = Simulator(spec, era=era)
    with simulator:
        click.echo(f"upstream {simulator.url}")
        click.echo(f"default-index {simulator.default_index_url}")
        click.echo(f"listing {simulator.listing_url}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


if __name__ == "__main__":
    main()
