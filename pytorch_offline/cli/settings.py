"""Settings: what the user says once instead of on every command line, by variables and a TOML file.

Both spell an option as its long name. ``--default-index`` of ``fetch`` is ``PYTORCH_OFFLINE_FETCH_DEFAULT_INDEX``, or
``PYTORCH_OFFLINE_DEFAULT_INDEX`` for every command that has it; in the file it is ``default_index`` or
``default-index``, in the table ``[fetch]`` or above all tables. The command line
overrides variables, and those override the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "PYTORCH_OFFLINE"


def settings_path() -> tuple[Path, bool]:
    """Say where the settings file is, and whether the user named it (``PYTORCH_OFFLINE_CONFIG``)."""
    named = os.environ.get(f"{PREFIX}_CONFIG")
    if named:
        return Path(named), True
    return platformdirs.user_config_path("pytorch-offline", appauthor=False) / "config.toml", False


def read_settings() -> dict[str, Any]:
    """Read the settings file; one that is not there and was not named is empty.

    Raises:
        UsageError: ``bad-settings-file`` if the file cannot be read or is no TOML.
    """
    path, named = settings_path()
    try:
        text = path.read_text(encoding="utf-8-sig")
        import tomllib  # noqa: PLC0415  (most people have no such file)

        return tomllib.loads(text)
    except FileNotFoundError:
        if named:
            raise _bad(path, "does not exist") from None
        return {}
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # bytes that are no UTF-8, text that is no TOML
        raise _bad(path, f"cannot be read: {error}") from error


def option_names(command: click.Command) -> dict[str, click.Option]:
    """Give each option of a command by its long name, with underscores."""
    return {
        max(parameter.opts, key=len).lstrip("-").replace("-", "_"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }


def add_variables(command: click.Command, name: str) -> None:
    """Let each option of a command be set by variables, the command's own before the one that all share."""
    for option, parameter in option_names(command).items():
        parameter.envvar = [f"{PREFIX}_{name}_{option}".upper(), f"{PREFIX}_{option}".upper()]


def defaults_of(
    name: str, command: click.Command, settings: Mapping[str, Any], load: Mapping[str, Callable[[], click.Command]]
) -> dict[str, Any]:
    """Pick the settings of one command, by the names of its parameters.

    ``load`` has every command; they are loaded only when the file has a key that this one does not know.

    Raises:
        UsageError: ``bad-settings-file`` for a key that no command, or not the one it stands under, knows.
    """
    path, _ = settings_path()
    own = option_names(command)
    for key, value in settings.items():
        if isinstance(value, dict) and key not in load:
            raise _bad(path, f"has a table [{key}], and there is no such command", hint=_choices(load))
        if not isinstance(value, dict) and _key(key) not in own and not _known(key, load):
            raise _bad(path, f"says {key}, and no command has an option --{key.replace('_', '-')}")
    table = settings.get(name, {})
    for key in table:
        if _key(key) not in own:
            raise _bad(path, f"says {key} for {name}, which has no option --{key.replace('_', '-')}")
    shared = {key: value for key, value in settings.items() if not isinstance(value, dict) and _key(key) in own}
    return {str(own[_key(key)].name): _default(own[_key(key)], value) for key, value in (shared | table).items()}


def _key(key: str) -> str:
    return key.replace("-", "_")


def _known(key: str, load: Mapping[str, Callable[[], click.Command]]) -> bool:
    return any(_key(key) in option_names(one()) for one in load.values())


def _default(option: click.Option, value: object) -> object:
    if option.multiple:
        return [_expanded(option, item) for item in (value if isinstance(value, list) else [value])]
    return _expanded(option, value)


def _expanded(option: click.Option, value: object) -> object:
    """Read ``~`` in a path, which no shell has done for a file."""
    return Path(value).expanduser() if isinstance(option.type, click.Path) and isinstance(value, str) else value


def _choices(names: Mapping[str, object]) -> str:
    return f"commands are {', '.join(sorted(names))}"


def _bad(path: Path, problem: str, hint: str | None = None) -> UsageError:
    return UsageError("bad-settings-file", f"settings file {path} {problem}", hint=hint)
