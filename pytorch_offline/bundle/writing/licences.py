"""The terms that wheels come under, as their own METADATA and files say them: facts for people, and no advice.

NVIDIA's are pointed out: its libraries come in wheels of their own or inside torch's, most under terms of NVIDIA's and
not under an open licence. Whether an organisation may hand them on is for whoever answers for that there.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.metadata import parse_email

from pytorch_offline.wheels.metadata import MAX_METADATA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytorch_offline.bundle.format.model import BundleFile

# What is read of one licence file, and of all: the longest known (NVIDIA's, of CUDA) has 60 kB.
_MAX_LICENCE = 1024 * 1024
_MAX_LICENCES_READ = 20
# What is shown of one field: some projects have a whole licence there.
_MAX_SHOWN = 200
_LICENCE_FILE = re.compile(
    r"[^/]+\.dist-info/(?:licenses/.+|(?:licen[cs]e|copying|notice|eula|authors)[^/]*)", re.IGNORECASE
)
_NVIDIA_ADDRESS = re.compile(r"https?://[a-z0-9.-]*nvidia\.com/[^\s\"'<>()\[\]]*", re.IGNORECASE)
_TERMS_WORDS = re.compile(r"eula|licen[cs]e|sla|terms", re.IGNORECASE)
# Libraries of the CUDA toolkit and beside it, as torch's own wheels have held them: libcudart-d0da41ae.so.11.0,
# cudnn64_8.dll. torch's own (libtorch_cuda.so, libc10_cuda.so, libcaffe2_nvrtc.so) begin otherwise.
_NVIDIA_LIBRARY = re.compile(
    r"(?:lib)?(?:cudart|cublas|cudnn|cufft|curand|cusolver|cusparse|cufile|cupti|nccl|nvrtc|nvjitlink|nvshmem|"
    r"nvtoolsext|nvperf)[A-Za-z0-9_.-]*\.(?:so|dll|dylib)(?:\.[0-9.]+)?",
    re.IGNORECASE,
)
_DAMAGES = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, LookupError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelTerms:
    """What a wheel says of its terms.

    Args:
        summary: what it is, in its own words.
        author: who made it, in its own words.
        homepage: where it is at home.
        expression: ``License-Expression``, in SPDX's language.
        licence: ``License``: its first line.
        classifiers: those that begin with ``License ::``.
        files: the files of the wheel that hold licences.
        by_nvidia: whether NVIDIA made it.
        proprietary: whether it says of itself that it is under no open licence.
        titles: the first line of each licence file that names NVIDIA.
        addresses: where NVIDIA's terms are to be read, by the wheel's own words.
        nvidia_libraries: libraries of NVIDIA's inside a wheel that somebody else made.
    """

    summary: str = ""
    author: str = ""
    homepage: str = ""
    expression: str | None = None
    licence: str | None = None
    classifiers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    by_nvidia: bool = False
    proprietary: bool = False
    titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    nvidia_libraries: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The licence in one line."""
        names = tuple(name.rpartition(" :: ")[2] for name in self.classifiers)
        found = self.expression or "; ".join(dict.fromkeys(filter(None, (self.licence, *names))))
        return found or ("see its licence files" if self.files else "it does not say")


def read_terms(place: Path, file: BundleFile, project: str) -> WheelTerms:
    """Read what the wheel at a place says of its terms; damage leaves facts out, and raises nothing."""
    try:
        with zipfile.ZipFile(place) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            information = min((name for name in sizes if name.endswith(".dist-info/METADATA")), default="")
            if not information or sizes[information] > MAX_METADATA:
                return WheelTerms()
            body = archive.read(information)
            if hashlib.sha256(body).hexdigest() != (file.row or {}).get("metadata_sha256"):
                return WheelTerms()
            licences = tuple(sorted(name for name in sizes if _LICENCE_FILE.fullmatch(name) and not name.endswith("/")))
            texts = {
                name: archive.read(name).decode("utf-8", "replace")
                for name in licences[:_MAX_LICENCES_READ]
                if sizes[name] <= _MAX_LICENCE
            }
    except _DAMAGES:
        return WheelTerms()
    return terms_of(project, body, names=tuple(sizes), licences=licences, texts=texts)


def terms_of(
    project: str, metadata: bytes, *, names: tuple[str, ...], licences: tuple[str, ...], texts: Mapping[str, str]
) -> WheelTerms:
    """Find out the terms from METADATA, the names of all members, and the texts of licence files by name."""
    raw, _ = parse_email(metadata)
    classifiers = tuple(line.strip() for line in raw.get("classifiers", ()) if line.startswith("License ::"))
    licence, expression = _first_line(raw.get("license")), _first_line(raw.get("license_expression"))
    author = _first_line(raw.get("author")) or _first_line(raw.get("author_email")) or ""
    by_nvidia = project.startswith("nvidia-") or "nvidia" in author.lower()
    words = " ".join((licence or "", expression or "", *classifiers)).lower()
    titles = (_first_line(text) for text in texts.values() if "nvidia" in text.lower())
    addresses = _NVIDIA_ADDRESS.findall("\n".join((metadata.decode("utf-8", "replace"), *texts.values())))
    libraries = {name.rpartition("/")[2] for name in names if _NVIDIA_LIBRARY.fullmatch(name.rpartition("/")[2])}
    homepage = _first_line(raw.get("home_page")) or next(iter(raw.get("project_urls", {}).values()), "")
    return WheelTerms(
        summary=_first_line(raw.get("summary")) or "",
        author=author,
        homepage=homepage,
        expression=expression,
        licence=licence,
        classifiers=classifiers,
        files=licences,
        by_nvidia=by_nvidia,
        proprietary="proprietary" in words or "licenseref-nvidia" in words,
        titles=tuple(dict.fromkeys(title for title in titles if title)) if by_nvidia else (),
        addresses=_terms_addresses(addresses) if by_nvidia or libraries else (),
        nvidia_libraries=() if by_nvidia else tuple(sorted(libraries)),
    )


def _terms_addresses(found: list[str]) -> tuple[str, ...]:
    plain = (address.rstrip(".,;:") for address in found)
    return tuple(dict.fromkeys(address for address in plain if _TERMS_WORDS.search(address)))[:5]


def _first_line(text: str | None) -> str | None:
    line = next((line.strip() for line in (text or "").splitlines() if line.strip()), None)
    if line is None or line == "UNKNOWN":
        return None
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"
