"""Wheels that are asked for by address: a URL or a path, in a requirement or alone on a line.

pip's rules (``pip/_internal/req/constructors.py``): a URL or a path of a wheel stands for its project at its version; a
path is relative to the working directory; ``#sha256=…`` is the hash that the file must have. What is no wheel would
have to be built, and is refused with what to write instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qs

from pytorch_offline.addresses import redacted_text
from pytorch_offline.crawler.hrefs import parse_base, resolve
from pytorch_offline.errors import UsageError
from pytorch_offline.selector.model import DirectWheel
from pytorch_offline.wheels.filename import parse_wheel_name

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tlz", ".tar.lz", ".tar.lzma")
_VERSION_CONTROL = re.compile(r"(?:git|hg|svn|bzr)(?:\+|:)", re.IGNORECASE)
_URL = re.compile(r"(?:https?|file|ftp):", re.IGNORECASE)
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@")  # PEP 508's `name [extras] @ URL`
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Where conda's build machines keep what they build: their addresses mean nothing elsewhere. Only an address that was
# written so counts: a path is resolved against a working directory, which may bear any of these names.
_CONDA = re.compile(
    r"file:///(?:(?:.*/)?(?:croot|feedstock_root|conda-bld|tmp/build|opt/conda)/|(?:work|perseverance)\b|.*/work/?(?:[#;].*)?$)"
)


def is_address(text: str) -> bool:
    """Whether a requirement's text is a bare URL or the path of an archive or a directory, not a project."""
    if _VERSION_CONTROL.match(text) or _URL.match(text):
        return True
    name = text.partition(";")[0].strip()
    if _NAMED.match(name) or "://" in name:
        return False
    path = re.sub(r"\[[^\]]*\]$", "", name)
    return os.sep in path or path.startswith(".") or path.lower().endswith((".whl", *_ARCHIVES))


def parse_direct_wheel(text: str, where: str) -> DirectWheel:
    """Read the URL or the path of a wheel.

    Raises:
        UsageError: ``not-a-wheel`` with what to write instead; ``bad-url``; ``invalid-wheel-name``; ``bad-hash``.
    """
    if _VERSION_CONTROL.match(text):
        raise _refused(where, redacted_text(text), "is under version control, and nothing is built here")
    shown, built_by_conda = redacted_text(text), _CONDA.match(text) is not None
    if not _SCHEME.match(text):
        text = Path(text).absolute().as_uri()
    try:
        location = resolve(parse_base(text), text)
    except UsageError as error:
        raise UsageError(error.code, f"{where}: {redacted_text(error.message)}", hint=error.hint) from error
    filename = location.filename
    if not filename.lower().endswith(".whl"):
        if built_by_conda:
            raise UsageError(
                "not-a-wheel",
                f"{where}: {shown!r} is where conda built the package, and nobody else has it",
                hint="write the project and its version instead; `pip list --format=freeze` writes such a list",
            )
        what = "is a source archive" if filename.lower().endswith(_ARCHIVES) else "is no wheel"
        raise _refused(where, shown, f"{what}, and nothing is built here")
    try:
        name = parse_wheel_name(filename)
    except UsageError as error:
        raise UsageError(error.code, f"{where}: {error.message}") from error
    sha256 = _fragment_hash(location.fragment, where)
    return DirectWheel(name=name, url=location.url, path=location.path, sha256=sha256, where=where)


def _fragment_hash(fragment: str, where: str) -> str | None:
    """Read ``sha256=…`` out of a fragment.

    Weaker and longer kinds cannot be verified here; passing over them in silence would promise what is not kept.
    """
    said = parse_qs(fragment)
    kinds = {kind for kind in said if re.fullmatch(r"md5|sha1|sha224|sha256|sha384|sha512", kind)}
    if not kinds:
        return None
    digest = said.get("sha256", [""])[0].lower()
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise UsageError(
            "bad-hash", f"{where}: the hash in #{fragment} cannot be verified", hint="a wheel's hash is #sha256=…"
        )
    return digest


def _refused(where: str, shown: str, why: str) -> UsageError:
    return UsageError(
        "not-a-wheel",
        f"{where}: {shown!r} {why}",
        hint="name a project and its version, or a wheel by its address or path (`pip wheel` builds one)",
    )
