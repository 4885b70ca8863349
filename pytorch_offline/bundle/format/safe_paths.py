"""Which paths and names from outside may be used: the one place that decides it.

A path is safe if it names the same file below a directory, and nothing else, on every system that a bundle may be read
or merged on: Linux, macOS, Windows, and media written by one of them. The rules of Windows are the narrowest: its
reserved names, also with an extension, ends in a dot or a blank, characters (Microsoft, "Naming Files, Paths, and
Namespaces").
"""

import re
import unicodedata
from typing import Optional

# NAME_MAX of the common file systems, in bytes of UTF-8, and a bound on a whole path well below any PATH_MAX.
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
_FORBIDDEN_CHARACTERS = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
# The superscripts are digits to Windows' own parser of device names.
_DEVICE_NAMES = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE
)
# Control, format, surrogate and private characters, separators of lines: unseen, or read otherwise elsewhere.
_FORBIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def path_problem(path: str) -> Optional[str]:
    """Say why a relative path with ``/`` may not be used; None if it may."""
    if len(path) > MAX_PATH_BYTES or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    for part in path.split("/"):
        problem = name_problem(part)
        if problem is not None:
            return problem
    return None


def name_problem(name: str) -> Optional[str]:
    """Say why a single name, with no directory, may not be used; None if it may."""
    if not name:
        return "a part of it is empty"
    if len(name) > MAX_NAME_BYTES or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return f"a name is longer than {MAX_NAME_BYTES} bytes"
    if name in {".", ".."}:
        return "it leaves its directory"
    if "/" in name or _FORBIDDEN_CHARACTERS.search(name):
        return "it holds a character that not every system allows"
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in name):
        return "it holds a character that is not seen"
    if unicodedata.normalize("NFC", name) != name:
        return "it is not in Unicode's composed form (NFC)"
    if name[-1] in ". " or name[0] == " ":
        return "a name begins with a blank, or ends in one or in a dot"
    if _DEVICE_NAMES.fullmatch(name.split(".", 1)[0].rstrip(" ")):
        return "Windows has a device of that name"
    return None


def path_key(path: str) -> str:
    """Give what two paths have in common if some system takes them for one: case is folded, forms are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
