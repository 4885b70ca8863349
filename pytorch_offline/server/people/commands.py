"""The commands to copy, for one choice, for each tool."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from pytorch_offline.server.people.address import Address
    from pytorch_offline.server.people.installs import Install
    from pytorch_offline.server.people.offers import Offer


class Tool(StrEnum):
    """What somebody installs with, in the order in which it is offered."""

    PIP = "pip"
    UV = "uv"
    CONDA = "conda"
    ENVIRONMENT = "environment"
    REQUIREMENTS = "requirements"


def index_url(address: Address, index: PurePosixPath) -> str:
    """Write the address of an index, as pytorch.org's own commands have it: no slash at its end."""
    return f"{address}/{index}"


def render_command(tool: Tool, offer: Offer, install: Install, address: Address) -> str:
    """Write what to copy: lines for a shell, or those of a file."""
    match tool:
        case Tool.PIP:
            return _pip_line("pip install", install, address)
        case Tool.UV:
            return _uv_line(install, address)
        case Tool.CONDA:
            name = _environment(offer)
            return "\n".join(
                [
                    f"conda create -y -n {name} {_conda_python(offer)} pip",
                    f"conda activate {name}",
                    _pip_line("python -m pip install", install, address),
                ]
            )
        case Tool.ENVIRONMENT:
            lines = [*_options(install, address), *install.requirements]
            python = _conda_python(offer).split()
            return "\n".join(
                [
                    f"name: {_environment(offer)}",
                    "dependencies:",
                    f"  - {python[-1]}",
                    "  - pip",
                    "  - pip:",
                    *(f'      - "{line}"' for line in lines),
                ]
            )
        case Tool.REQUIREMENTS:
            return "\n".join([*_options(install, address), *install.requirements])


def render_pip_settings(install: Install, address: Address) -> str:
    """Write a ``pip.conf``."""
    lines = ["[global]", f"index-url = {index_url(address, install.index)}"]
    return "\n".join(lines if address.is_trusted_by_pip else [*lines, f"trusted-host = {address.host}"])


def render_uv_settings(install: Install, address: Address) -> str:
    """Write a ``uv.toml``."""
    return "\n".join(["[[index]]", f'url = "{index_url(address, install.index)}"', "default = true"])


def render_pipfile(install: Install, address: Address) -> str:
    """Write a ``Pipfile``."""
    pins = [requirement.partition("=") for requirement in install.requirements]
    return "\n".join(
        [
            "[[source]]",
            'name = "pytorch"',
            f'url = "{index_url(address, install.index)}"',
            f"verify_ssl = {'true' if address.is_trusted_by_pip else 'false'}",
            "",
            "[packages]",
            *(f'{project} = "={version}"' for project, _, version in pins),
        ]
    )


def render_lock_command(lock: str, address: Address) -> str:
    """Write how to install what a lock names, and nothing else.

    ``requirements.<target>.txt`` needs an index that lists every file: the hashes choose among builds of one version.
    ``pylock.<target>.toml`` names its files relative to itself, which pip from 26.1 on follows over HTTP; uv looks for
    them on its own disk (tried with uv 0.13).
    """
    url = f"{address}/locks/{lock}"
    if lock.endswith(".toml"):
        # Every file is named, and an index would be asked for newer pips alone.
        return f"pip install --no-index -r {_quoted(url)}{_trust(address)}"
    line = f"pip install --require-hashes --no-deps -r {_quoted(url)} --index-url {_quoted(f'{address}/simple/')}"
    return line + _trust(address)


def render_first_command(address: Address) -> str:
    """Write what fills a gateway that holds nothing yet: a build that every upstream has, for any machine."""
    return f"pip install torch --index-url {_quoted(f'{address}/whl/cpu')}{_trust(address)}"


def _pip_line(start: str, install: Install, address: Address) -> str:
    url = _quoted(index_url(address, install.index))
    return f"{start} {' '.join(install.requirements)} --index-url {url}{_trust(address)}"


def _uv_line(install: Install, address: Address) -> str:
    """Write uv's line; uv takes plain HTTP from any host."""
    url = _quoted(index_url(address, install.index))
    return f"uv pip install {' '.join(install.requirements)} --index-url {url}"


def _options(install: Install, address: Address) -> list[str]:
    url = f"--index-url {index_url(address, install.index)}"
    return [url] if address.is_trusted_by_pip else [url, f"--trusted-host {address.host}"]


def _trust(address: Address) -> str:
    """Ask pip to take plain HTTP; the host alone, since the oldest pips know no ``host:port`` here."""
    return "" if address.is_trusted_by_pip else f" --trusted-host {address.host}"


def _quoted(url: str) -> str:
    """Quote what zsh would take for a pattern: the brackets of an IPv6 address. Double quotes serve every shell."""
    return f'"{url}"' if "[" in url else url


def _environment(offer: Offer) -> str:
    """Name an environment after what is in it."""
    return f"torch-{offer.torch.replace('/', '-')}-{offer.backend}"


def _conda_python(offer: Offer) -> str:
    """Write conda's requirement for a Python; the free-threaded one has a name of its own, in conda-forge."""
    version = offer.python.removesuffix("+")
    if version.endswith("t"):
        return f"-c conda-forge python-freethreading={version.removesuffix('t')}"
    return f"python={version}"
