"""Help texts of commands with many options: under headings, so that each reader finds the few that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

# By an option's first name. What is under no heading comes last, under "Other options".
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Whose it is": ("--sign", "--rotate-from", "--allowed-signers", "--pin", "--allow-unsigned"),
    "What to check": ("--deep", "--older-than", "--watch", "--for"),
    "Repair": ("--repair", "--from"),
    "What to choose": (
        "--requirement",
        "--constraint",
        "--backend",
        "--channel",
        "--pre",
        "--no-deps",
        "--as-of",
        "--common",
        "--why",
        "--why-not",
        "--output",
    ),
    "The target": (
        "--target",
        "--preset",
        "--python-version",
        "--abi",
        "--free-threaded",
        "--platform",
        "--glibc",
        "--accelerator",
        "--driver",
        "--cuda",
        "--gpu",
        "--compute-capability",
        "--gfx",
    ),
    "The bundle": (
        "--since",
        "--volume-size",
        "--parity",
        "--with-uv",
        "--sign",
        "--rotate-from",
        "--sbom",
        "--force",
    ),
    "Where it comes from": (
        "--upstream",
        "--default-index",
        "--no-default-index",
        "--index-url",
        "--extra-index-url",
        "--find-links",
        "--offline",
        "--refresh",
    ),
    "At the destination": ("--delete", "--replace", "--checksum"),
    "A bucket": ("--public-url", "--endpoint-url", "--region", "--profile"),
    "Speed and waiting": ("--jobs", "--connections", "--limit-rate", "--wait"),
    "The network": ("--proxy", "--cert", "--client-cert", "--trusted-host", "--timeout", "--retries"),
    "Other options": (),  # the common ones
}
_HEADINGS = {name: heading for heading, names in SECTIONS.items() for name in names}
_REST = "Other options"
# Of a command that repairs, this one says how.
_REPAIRING = {"--offline": "Repair"}
# A bundle's are of the mirror's locks; only its tools come from an index.
_BUNDLING = {"--output": "The bundle", "--target": "The bundle"}


class SectionedCommand(click.Command):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading, in the order in which they were declared."""
        under: dict[str, list[tuple[str, str]]] = {heading: [] for heading in SECTIONS}
        parameters = self.get_params(ctx)
        names = {name for one in parameters for name in one.opts}
        headings = dict(_HEADINGS)
        headings |= _REPAIRING if "--repair" in names else {}
        headings |= _BUNDLING if "--volume-size" in names else {}
        for parameter in parameters:
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # arguments are explained in the text
                heading = next((headings[name] for name in parameter.opts if name in headings), _REST)
                under[heading].append(record)
        for heading, records in under.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
