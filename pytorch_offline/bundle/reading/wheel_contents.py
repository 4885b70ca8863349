"""What a wheel would write, looked at before an installer sees it: nothing outside of its places, nothing unbounded.

The mirror admitted these wheels by the same rules and more (``wheels/archive_rules.py``); a bundle may come from
another hand. Only the directory of the zip and its commands are read; of a member zipfile gives no more bytes than it
declares.
"""

import re
import stat
import struct
import sys
import unicodedata
import zipfile
from typing import BinaryIO, Dict, Iterator, List, Optional, Tuple

from pytorch_offline.bundle.format.model import LockedWheel
from pytorch_offline.errors import IntegrityError

# torch 2.13 has 14,000 members and a directory of 1.5 MB; zipfile holds about ten times that in memory.
MAX_WHEEL_DIRECTORY = 16 * 1024 * 1024
# As the mirror's gate has them: RECORD, and whatever else of .dist-info is read whole.
_MAX_WHEEL_RECORD = 64 * 1024 * 1024
_MAX_WHEEL_TEXT = 8 * 1024 * 1024
_ZIP64_MARK = 0xFFFFFFFF  # the number stands in the wider record
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")
_LONGEST_ZIP_END = _ZIP_END.size + 65535 + _ZIP64_LOCATOR.size
_UNSAFE_MEMBER_CHARACTER = re.compile(r"[\x00-\x1f\x7f\\]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")  # of torch's 14,000 names none needs the look at each letter
_MEMBER_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_MEMBER_NAME = 1024
_MAX_MEMBER_COMPONENT = 255
_WHEEL_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
_ENCRYPTED = 0x1
_MAX_TOLD = 5


def require_sound_wheel(place: str, wheel: LockedWheel) -> None:
    """Look into a wheel that is about to be installed, where it lies ready.

    Raises:
        IntegrityError: ``unsafe-wheel`` if it would write where it must not, or more than the manifest says.
    """
    with open(place, "rb") as file:
        problems = wheel_problems(file, wheel.path, wheel.installed_bytes)
    if problems:
        raise IntegrityError(
            "unsafe-wheel",
            f"{wheel.path} is what its hash says, and nothing that may be installed; nothing was changed",
            facts={f"problem {number}": problem for number, problem in enumerate(problems, 1)},
            hint="pytorch-offline made no such bundle of an admitted wheel: ask whoever brought it",
        )


def wheel_problems(
    file: BinaryIO, path: str, installed_bytes: int = 0, *, folds_case: Optional[bool] = None
) -> Tuple[str, ...]:
    """List what is wrong with a wheel, the first few; nothing for one that may be installed.

    Args:
        file: the wheel, readable and seekable.
        path: its path, by whose last name its ``.data`` and ``.dist-info`` are known.
        installed_bytes: what the manifest says it takes, with byte code; 0 if it does not say.
        folds_case: whether the destination takes ``A`` and ``a`` for one name; None for this machine's habit.
    """
    try:
        _bound_directory(file)
        with zipfile.ZipFile(file) as archive:
            fold = sys.platform in ("darwin", "win32") if folds_case is None else folds_case
            found = _archive_problems(archive, path.rsplit("/", 1)[-1], installed_bytes, folds_case=fold)
            return tuple(problem for problem, _ in zip(found, range(_MAX_TOLD)))
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        return (f"it cannot be read as a zip: {ascii(str(error))[1:-1]}",)


def unsafe_member(name: str) -> Optional[str]:
    """Say why a member's name could write outside of where it is unpacked; None if it could not."""
    if not name or len(name) > _MAX_MEMBER_NAME:
        return "it is empty or too long"
    if _UNSAFE_MEMBER_CHARACTER.search(name):
        return "it holds a backslash or a control character"
    if name.startswith("/") or _MEMBER_DRIVE.match(name):
        return "it is absolute"
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leaves its directory or names it twice"
    if any(len(part.encode("utf-8", "surrogatepass")) > _MAX_MEMBER_COMPONENT for part in parts):
        return "it is longer than file systems allow"
    if _BEYOND_ASCII.search(name) and any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in name):
        return "it holds a character that cannot be seen"
    return None


def _bound_directory(file: BinaryIO) -> None:
    """Refuse a directory too large to be read, before zipfile reads it whole."""
    total = file.seek(0, 2)
    start = max(0, total - _LONGEST_ZIP_END)
    file.seek(start)
    tail = file.read(min(total, _LONGEST_ZIP_END))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _ZIP_END.size:
        raise ValueError("it has no directory")
    size = _ZIP_END.unpack_from(tail, at)[5]
    if at >= _ZIP64_LOCATOR.size and tail[at - _ZIP64_LOCATOR.size :][:4] == b"PK\x06\x07":
        file.seek(_ZIP64_LOCATOR.unpack_from(tail, at - _ZIP64_LOCATOR.size)[2])
        size = max(size if size != _ZIP64_MARK else 0, _ZIP64_END.unpack(file.read(_ZIP64_END.size))[8])
    if size > MAX_WHEEL_DIRECTORY:
        raise ValueError(f"its directory claims {size} bytes, and no wheel's has more than {MAX_WHEEL_DIRECTORY}")


def _archive_problems(
    archive: zipfile.ZipFile, filename: str, installed_bytes: int, *, folds_case: bool
) -> Iterator[str]:
    members = archive.infolist()
    written: Dict[str, bool] = {}
    stem = "-".join(filename.split("-")[:2])
    for member in members:
        shown = ascii(member.filename[:200])
        for problem in _member_problems(member, stem):
            yield f"{shown}: {problem}"
        place = _place_of(member.filename.rstrip("/"))
        key = unicodedata.normalize("NFC", place).casefold() if folds_case else place
        if key in written:
            yield f"{shown}: another member would be written to the same place"
        written[key] = member.filename.endswith("/")
    for place in written:
        at = place.find("/")
        while at >= 0:
            if not written.get(place[:at], True):
                yield f"{place[:200]!a}: a file stands where its directory should be"
            at = place.find("/", at + 1)
    unpacked = sum(member.file_size for member in members)
    if installed_bytes and unpacked > installed_bytes:
        yield f"it unpacks to {unpacked} bytes, and the manifest says {installed_bytes}"
    for problem in _command_problems(archive, members):
        yield problem


def _member_problems(member: zipfile.ZipInfo, stem: str) -> Iterator[str]:
    name = member.filename
    reason = unsafe_member(getattr(member, "orig_filename", name)) or unsafe_member(name)
    if reason is not None:
        yield reason
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
        yield "it is a link or a special file"
    if member.flag_bits & _ENCRYPTED:
        yield "it is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield "it is compressed as no wheel is"
    top, _, inside = name.partition("/")
    if top.endswith(".data") and not name.endswith("/"):
        scheme, _, rest = inside.partition("/")
        if _same_stem(top[:-5], stem) and scheme in _WHEEL_SCHEMES and rest:
            reason = unsafe_member(rest)
            if reason is not None:
                yield reason
        else:
            yield "it is in none of the directories that installers know"
    if top.endswith(".dist-info"):
        limit = _MAX_WHEEL_RECORD if inside == "RECORD" else _MAX_WHEEL_TEXT
        if inside in ("RECORD", "METADATA", "WHEEL", "entry_points.txt") and member.file_size > limit:
            yield f"it claims {member.file_size} bytes"


def _place_of(name: str) -> str:
    """Say where a member lands, as another name that would land there: site-packages may be named in three ways."""
    top, _, inside = name.partition("/")
    scheme, _, rest = inside.partition("/")
    return rest if rest and top.endswith(".data") and scheme in ("purelib", "platlib") else name


def _same_stem(one: str, other: str) -> bool:
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _command_problems(archive: zipfile.ZipFile, members: List[zipfile.ZipInfo]) -> Iterator[str]:
    """Find commands whose names would lead an installer out of its directory of commands."""
    for member in members:
        top, _, inside = member.filename.partition("/")
        if not top.endswith(".dist-info") or inside != "entry_points.txt" or member.file_size > _MAX_WHEEL_TEXT:
            continue
        section = ""
        for line in archive.read(member).decode("utf-8").splitlines():
            name, mark, _ = line.strip().partition("=")
            if name.startswith("["):
                section = name.strip("[] ")
            elif section in ("console_scripts", "gui_scripts") and mark and not name.startswith(("#", ";")):
                command = name.strip()
                if "/" in command or unsafe_member(command) is not None:
                    yield f"entry_points.txt: {command[:200]!a} cannot be the name of a command"
