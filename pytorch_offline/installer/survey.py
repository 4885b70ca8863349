# The file runs on Python 3.6: no new spellings of types.
"""Say what a Python environment is and holds: one stand-alone file, run under the destination's own interpreter.

``python -I survey.py [--records PROJECT…]`` prints one JSON document. Standard library only, Python 3.6 and newer.
Distributions are found as installers lay them out (``*.dist-info`` and ``*.egg-info`` on ``sys.path``, the first one
of a name wins), not by ``importlib.metadata``, which 3.6 and 3.7 lack. With ``--records`` the installed files of the
named projects are hashed again and compared with what RECORD says of them
(https://packaging.python.org/specifications/recording-installed-packages/).
"""

import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import sysconfig
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

# Read in pieces of this size: large enough that the interpreter's overhead vanishes, small enough for any machine.
PIECE = 1024 * 1024


def main(arguments: List[str]) -> None:
    """Print the survey; ``--records`` is followed by normalised project names."""
    document = survey(frozenset(arguments[1:]) if arguments[:1] == ["--records"] else frozenset())
    sys.stdout.write(json.dumps(document) + "\n")


def survey(hashed: FrozenSet[str]) -> Dict[str, Any]:
    """Describe the running interpreter's environment, and re-hash the installed files of ``hashed``."""
    directories = {"purelib": sysconfig.get_path("purelib"), "platlib": sysconfig.get_path("platlib")}
    return {
        "executable": sys.executable,
        "version": "{}.{}.{}".format(*sys.version_info[:3]),
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "purelib": directories["purelib"],
        "writable": all(_writable(Path(directory)) for directory in directories.values()),
        "externally_managed": _externally_managed(),
        "bundled_pip": _bundled_pip(),
        "distributions": _distributions(hashed),
    }


def _writable(directory: Path) -> bool:
    """Whether files can be put there; a directory that does not exist yet is judged by its nearest parent."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return os.access(str(directory), os.W_OK | os.X_OK)


def _externally_managed() -> Optional[str]:
    """Return the path of PEP 668's marker file, if this environment has one; virtual environments are exempt."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    return str(marker) if sys.prefix == sys.base_prefix and marker.is_file() else None


def _bundled_pip() -> Optional[str]:
    """Return the path of the pip wheel that ensurepip brings along, if this Python has ensurepip."""
    spec = importlib.util.find_spec("ensurepip")
    places = [Path(place) / "_bundled" for place in (spec.submodule_search_locations or [])] if spec else []
    if sysconfig.get_config_var("WHEEL_PKG_DIR"):
        places.append(Path(sysconfig.get_config_var("WHEEL_PKG_DIR")))
    wheels = [wheel for place in places if place.is_dir() for wheel in sorted(place.glob("pip-*.whl"))]
    return str(wheels[-1]) if wheels else None


def _distributions(hashed: FrozenSet[str]) -> List[Dict[str, Any]]:
    found = {}  # type: Dict[str, Dict[str, Any]]
    for entry in sys.path:
        directory = Path(entry)
        if not directory.is_dir():
            continue
        for information in sorted(directory.iterdir()):
            identity = _identity(information)
            if identity is None or identity[0] in found:
                continue
            name, version = identity
            distribution = {"name": name, "version": version, "path": str(information)}  # type: Dict[str, Any]
            if name in hashed:
                distribution.update(_records(information))
            found[name] = distribution
    return list(found.values())


def _identity(information: Path) -> Optional[Tuple[str, str]]:
    """Read (normalised name, version) of a distribution's information directory or file, None if it is none."""
    if information.suffix == ".dist-info":
        metadata = information / "METADATA"
    elif information.suffix == ".egg-info":
        metadata = information / "PKG-INFO" if information.is_dir() else information
    else:
        return None
    try:
        text = metadata.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    headers = HeaderParser().parsestr(text)
    if not headers["Name"] or not headers["Version"]:
        return None
    return re.sub(r"[-_.]+", "-", str(headers["Name"])).lower(), str(headers["Version"]).strip()


def _records(information: Path) -> Dict[str, Any]:
    """Re-hash the files that RECORD lists: ``record`` is path → hash on disk, ``problems`` names the bad ones."""
    try:
        text = (information / "RECORD").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return {"record": None, "problems": [["RECORD", str(error)]]}
    on_disk = {}  # type: Dict[str, str]
    problems = []  # type: List[List[str]]
    for row in csv.reader(io.StringIO(text)):
        if len(row) < 2 or "=" not in row[1]:  # noqa: PLR2004  (path, hash, size: these rows carry no hash)
            continue
        path, (algorithm, _, expected) = row[0], row[1].partition("=")
        try:
            digest = _hash(information.parent / path, algorithm)
        except (OSError, ValueError) as error:
            problems.append([path, str(error)])
            continue
        on_disk[path] = algorithm + "=" + digest
        if digest != expected.rstrip("="):
            problems.append([path, f"RECORD says {row[1]}, the file has {algorithm}={digest}"])
    return {"record": on_disk, "problems": problems}


def _hash(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                break
            digest.update(piece)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
