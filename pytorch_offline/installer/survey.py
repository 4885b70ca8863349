"""Say what a Python environment is and holds, as its own interpreter sees it, and what a normal run of it would see.

Run under the destination's interpreter, isolated (``-I``). Distributions are found as installers lay them out
(``*.dist-info`` and ``*.egg-info`` on ``sys.path``, the first one of a name wins), not by ``importlib.metadata``, which
3.6 and 3.7 lack.
"""

import importlib.util
import json
import os
import site
import sys
import sysconfig
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from pytorch_offline.installer.model import Distribution, Shadow, Survey, project_name
from pytorch_offline.installer.surroundings import first_text_of, local_path, portable_path
from pytorch_offline.target.probe import describe

# An information file is a few kilobytes; torch's licences make METADATA longer, by less than this.
LONGEST_METADATA = 4 * 1024 * 1024
# Conda's own names for what it puts into every environment and what only its base has.
CONDA_RECORDS = "conda-meta"
# Modules that Python imports when it starts, whoever provides them.
START_MODULES = ("sitecustomize", "usercustomize")
# A directory of PYTHONPATH with more entries is no directory of modules; looking stops there.
MOST_SHADOWING = 20000


def describe_environment(arguments: List[str]) -> Mapping[str, Any]:
    """Describe the running interpreter's environment, as ``read_survey`` reads it.

    Args:
        arguments: one JSON object: those ``PYTHON…`` variables that a normal run would see.
    """
    variables: Mapping[str, str] = json.loads(arguments[0]) if arguments else {}
    paths = {name: str(path) for name, path in sysconfig.get_paths().items()}
    conda = Path(sys.prefix) / CONDA_RECORDS
    return {
        "executable": portable_path(sys.executable),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "prefix": portable_path(sys.prefix),
        "base_prefix": portable_path(sys.base_prefix),
        "paths": {name: portable_path(path) for name, path in paths.items()},
        "writable": all(may_write_to(Path(paths[name])) for name in ("purelib", "platlib", "scripts")),
        "externally_managed": find_external_manager(),
        "bundled_pip": find_bundled_pip(),
        "makes_environments": importlib.util.find_spec("venv") is not None,
        "conda": conda.is_dir(),
        "conda_base": conda.is_dir() and (Path(sys.prefix) / "condabin").is_dir(),
        "conda_packages": list_conda_packages(conda),
        "distributions": [list(found) for found in list_distributions(sys.path).values()],
        "shadows": [list(found) for found in list_shadows(variables)],
        "machine": describe(),
    }


def survey_of(document: Mapping[str, Any]) -> Survey:
    """Read what ``describe_environment`` gave.

    Raises:
        KeyError, TypeError, ValueError: if it is not that.
    """
    distributions = [Distribution(*row) for row in document["distributions"]]
    bundled, marker = document["bundled_pip"], document["externally_managed"]
    found = {
        distribution.name: distribution._replace(
            information=local_path(distribution.information), requires=tuple(distribution.requires)
        )
        for distribution in distributions
    }
    return Survey(
        executable=local_path(document["executable"]),
        python=document["python"],
        prefix=local_path(document["prefix"]),
        base_prefix=local_path(document["base_prefix"]),
        paths={name: local_path(path) for name, path in document["paths"].items()},
        writable=document["writable"],
        externally_managed=None if marker is None else local_path(marker),
        bundled_pip=None if bundled is None else local_path(bundled),
        makes_environments=document["makes_environments"],
        pip=found["pip"].version if "pip" in found else None,
        conda=document["conda"],
        conda_base=document["conda_base"],
        conda_packages=document["conda_packages"],
        distributions=found,
        shadows=tuple(Shadow(*row)._replace(place=local_path(row[2])) for row in document["shadows"]),
        machine=document["machine"],
    )


def may_write_to(directory: Path) -> bool:
    """Whether files can be put there; a directory that does not exist yet is judged by its nearest parent."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return os.access(str(directory), os.W_OK | os.X_OK)


def find_external_manager() -> Optional[str]:
    """Return the path of PEP 668's marker file, if this environment has one; virtual environments are exempt."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    return portable_path(str(marker)) if sys.prefix == sys.base_prefix and marker.is_file() else None


def find_bundled_pip() -> Optional[str]:
    """Return the path of the pip wheel that ensurepip brings along, if this Python has ensurepip."""
    spec = importlib.util.find_spec("ensurepip")
    places = [Path(place) / "_bundled" for place in (spec.submodule_search_locations or [])] if spec else []
    if spec and sysconfig.get_config_var("WHEEL_PKG_DIR"):  # a distributor keeps it elsewhere
        places.append(Path(sysconfig.get_config_var("WHEEL_PKG_DIR")))
    wheels = [wheel for place in places if place.is_dir() for wheel in sorted(place.glob("pip-*.whl"))]
    return portable_path(str(wheels[-1])) if wheels else None


def list_conda_packages(records: Path) -> Dict[str, str]:
    """List what conda owns, by the names of its records: ``NAME-VERSION-BUILD.json``."""
    found = {}
    for path in sorted(records.glob("*.json")) if records.is_dir() else ():
        parts = path.stem.rsplit("-", 2)
        if len(parts) == 3:  # noqa: PLR2004  (name, version, build)
            found[project_name(parts[0])] = parts[1]
    return found


def list_distributions(places: Iterable[str]) -> Dict[str, Distribution]:
    """Find the distributions in some directories; the first one of a name wins, as it does for Python."""
    found: Dict[str, Distribution] = {}
    for place in places:
        try:
            entries_there = sorted(os.listdir(place or os.curdir))
        except OSError:
            continue
        for entry in entries_there:
            if entry.endswith((".dist-info", ".egg-info")):
                distribution = read_distribution(Path(place) / entry)
                if distribution is not None:
                    found.setdefault(distribution.name, distribution)
    return found


def read_distribution(information: Path) -> Optional[Distribution]:
    """Read a distribution's information directory or file, None if it is none."""
    metadata = information / "METADATA" if information.suffix == ".dist-info" else information
    if information.suffix == ".egg-info" and information.is_dir():
        metadata = information / "PKG-INFO"
    headers = HeaderParser().parsestr(first_text_of(metadata, LONGEST_METADATA))
    name, version = headers["Name"], headers["Version"]
    if not name or not version:
        return None
    return Distribution(
        name=project_name(str(name).strip()),
        version=str(version).strip(),
        information=portable_path(str(information)),
        installer=first_text_of(information / "INSTALLER", 100).strip() if information.is_dir() else "",
        record=(information / "RECORD").is_file(),
        requires=tuple(str(line) for line in headers.get_all("Requires-Dist") or ()),
    )


def list_shadows(variables: Mapping[str, str]) -> List[Shadow]:
    """List what a normal run finds in PYTHONPATH and in the user's own site directory, before the environment's own."""
    found: List[Shadow] = []
    for place in variables.get("PYTHONPATH", "").split(os.pathsep):
        if place:
            found += shadows_in(local_path(place), "PYTHONPATH")
    user = user_site(variables)
    if user is not None:
        found += shadows_in(user, "user site")
    return found


def shadows_in(place: str, cause: str) -> List[Shadow]:
    """List what can be imported from a directory: distributions, and modules without one."""
    try:
        names = sorted(os.listdir(place))[:MOST_SHADOWING]
    except OSError:
        return []
    where = portable_path(place)
    held = list_distributions([place])
    found = [Shadow(name, distribution.version, where, cause) for name, distribution in held.items()]
    modules = {name.split(".")[0] for name in names if name.endswith(".py") or os.path.isdir(os.path.join(place, name))}
    for name in sorted(modules):
        if name in START_MODULES:
            found.append(Shadow("", name, where, cause))
        elif name.isidentifier() and project_name(name) not in held:
            found.append(Shadow(project_name(name), "", where, cause))
    return found


def user_site(variables: Mapping[str, str]) -> Optional[str]:
    """Return the user's own site directory if a normal run of this interpreter looks into it (PEP 370)."""
    if variables.get("PYTHONNOUSERSITE") or (sys.prefix != sys.base_prefix and not shares_system_packages()):
        return None
    base = variables.get("PYTHONUSERBASE")
    try:
        if base:
            scheme = {"nt": "nt_user"}.get(os.name, "posix_user")
            return sysconfig.get_path("purelib", scheme, vars={"userbase": local_path(base)})
        return site.getusersitepackages()
    except (KeyError, OSError, RuntimeError, TypeError):  # without a home directory there is none
        return None


def shares_system_packages() -> bool:
    """Whether this virtual environment sees its base's packages too."""
    for line in first_text_of(Path(sys.prefix) / "pyvenv.cfg", 10000).splitlines():
        key, _, value = line.partition("=")
        if key.strip().lower() == "include-system-site-packages":
            return value.strip().lower() == "true"
    return False


def variables_of_a_normal_run(environment: Mapping[str, str]) -> Dict[str, str]:
    """Pick the variables that ``describe_environment`` is told of, since it runs without them."""
    names: Tuple[str, ...] = ("PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE")
    return {name: portable_path(environment[name]) for name in names if environment.get(name)}
