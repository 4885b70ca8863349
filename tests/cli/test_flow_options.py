"""``--connections`` and ``--limit-rate``: what they take, and what they refuse."""

from __future__ import annotations

import click
import pytest

from pytorch_offline.cli.fetch import command


def read(*arguments: str) -> dict[str, object]:
    """Read options as the command does."""
    with command.make_context("fetch", [*arguments, "torch"]) as context:
        return context.params


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(("500k", 500_000), ("20M", 20_000_000), ("2.5m", 2_500_000), ("1G", 10**9), ("4096", 4096)),
        *(("1.5MB/s", 1_500_000), ("2 MiB", 2 * 1024**2), (" 3K ", 3000), ("1Ki", 1024)),
    ],
)
def test_a_rate_is_written_as_to_curl_and_wget(text: str, rate: int) -> None:
    assert read("--limit-rate", text)["limit_rate"] == rate


@pytest.mark.parametrize("text", ["fast", "0", "-1", "0.0001", "20x", "1e6", "", "k"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="bytes per second"):
        read("--limit-rate", text)


@pytest.mark.parametrize("text", ["0", "33", "many"])
def test_so_many_connections_there_cannot_be(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read("--connections", text)


def test_without_them_a_host_gets_sixteen_connections_and_no_limit() -> None:
    assert read("--connections", "3")["connections"] == 3
    assert (read()["connections"], read()["limit_rate"]) == (16, None)
