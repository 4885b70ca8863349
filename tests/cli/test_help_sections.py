"""Help texts of commands with many options."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from pytorch_offline.cli.help_sections import SECTIONS
from pytorch_offline.cli.main import cli, load_command

COMMANDS = ("fetch", "select", "verify")


def text_of(name: str) -> str:
    return CliRunner().invoke(cli, [name, "--help"], terminal_width=80, env={"COLUMNS": "80"}).output


def sections_of(text: str) -> dict[str, str]:
    """Take a help text apart: below each heading, its lines."""
    found: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            heading = line.rstrip(":")
        found[heading] = found.get(heading, "") + line + "\n"
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_stands_once_under_one_heading(name: str) -> None:
    told = "".join(text for heading, text in sections_of(text_of(name)).items() if heading in SECTIONS)
    options = [one for one in load_command(name).params if isinstance(one, click.Option)]
    for option in options:
        longest = max(option.opts, key=len)
        rows = [line for line in told.splitlines() if line.startswith("  -")]
        assert sum(longest in row.replace(",", " ").split()[:2] for row in rows) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal(name: str) -> None:
    text = text_of(name).partition("Examples:")[0]
    assert max(map(len, text.splitlines())) <= 80


def test_no_more_than_the_common_options_are_under_the_last_heading() -> None:
    last = list(SECTIONS)[-1]
    for name in COMMANDS:
        told = sections_of(text_of(name))[last]
        assert sum(line.startswith("  -") for line in told.splitlines()) <= 6


def test_offline_stands_where_it_belongs() -> None:
    assert "--offline" in sections_of(text_of("fetch"))["Where it comes from"]
    assert "--offline" in sections_of(text_of("verify"))["Repair"]
