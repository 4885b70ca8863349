"""What a program that we start sees of the user's surroundings: variables, paths, small files, harmless and bounded."""

import os
from pathlib import Path
from typing import Dict, Mapping, Optional

# What steers pip, uv or Python by its name's beginning.
STEERING_PREFIXES = ("PIP_", "UV_", "PYTHON")
# Others that do: pip 18.1 breaks on file: addresses when it is told of hosts without a proxy.
STEERING_NAMES = frozenset({"__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "NO_PROXY"})
# Where Python looks for the directory of temporary files, on every system.
TEMPORARY_VARIABLES = ("TMPDIR", "TEMP", "TMP")
# Locales that know ASCII alone, and none at all.
PLAIN_LOCALES = ("", "C", "POSIX")


def clean_environment(environment: Mapping[str, str], temporary: Optional[str] = None) -> Dict[str, str]:
    """Take everything out of an environment that could steer pip, uv or Python; the rest (PATH, locale …) stays.

    Args:
        environment: the surrounding one.
        temporary: where temporary files go, if not where they usually do; old pips unpack whole wheels there, which a
            small ``/tmp`` cannot hold.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(STEERING_PREFIXES) and name.upper() not in STEERING_NAMES
    }
    if all(kept.get(name, "") in PLAIN_LOCALES for name in ("LC_ALL", "LC_CTYPE", "LANG")) or (
        kept.get("LC_ALL") in PLAIN_LOCALES[1:]
    ):
        # As Python does by itself since 3.7 (PEP 538): 3.6 and its pip fail at a path with letters beyond ASCII.
        kept.pop("LC_ALL", None)
        kept["LC_CTYPE"] = "C.UTF-8"
    kept["PIP_CONFIG_FILE"] = os.devnull  # --isolated alone does not keep a global pip.conf out
    kept["PYTHONNOUSERSITE"] = "1"  # without it pip falls back to a user install where it may not write
    kept["PYTHONIOENCODING"] = "utf-8"
    if temporary is not None:
        kept.update(dict.fromkeys(TEMPORARY_VARIABLES, temporary))
        # pip asks rustc for its version, for the name it goes by; a rustc of rustup's writes its settings into HOME.
        kept["RUSTUP_HOME"] = temporary
    return kept


def portable_path(path: str) -> str:
    """Spell a path so that another interpreter understands it, whatever either one's locale is; see ``local_path``."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def local_path(text: str) -> str:
    """Read a path that another interpreter spelt with ``portable_path``: a C locale under 3.6 knows ASCII alone."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def first_text_of(path: Path, most: int) -> str:
    """Read the first bytes of a file as text; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""
