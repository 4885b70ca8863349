"""Where the far side says whom it trusts, and how that file is read and written.

The first of these that is there counts, and the others are not looked at:

1. ``--allowed-signers FILE``
2. ``PYTORCH_OFFLINE_ALLOWED_SIGNERS``
3. the destination's: ``<prefix>/share/pytorch-offline/allowed_signers``
4. the mirror's: ``<mirror>/.state/allowed_signers``
5. the user's: ``~/.config/pytorch-offline/allowed_signers`` (below ``XDG_CONFIG_HOME`` where that is set)
6. the machine's: ``/etc/pytorch-offline/allowed_signers``

A file that is there and cannot be read is an error: nobody is trusted by accident.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Mapping, NamedTuple, Optional, Tuple

from pytorch_offline.bundle.reading.allowed_signers import MAX_ALLOWED_SIGNERS
from pytorch_offline.bundle.reading.lasting_files import ENVIRONMENT_FOLDER, MIRROR_FOLDER, write_whole
from pytorch_offline.bundle.reading.signature import Pins, SignatureStatus
from pytorch_offline.errors import UsageError

ALLOWED_SIGNERS_VARIABLE = "PYTORCH_OFFLINE_ALLOWED_SIGNERS"
_ALLOWED_SIGNERS = "allowed_signers"
_MACHINE_PINS = Path("/etc/pytorch-offline") / _ALLOWED_SIGNERS


class PinPlaces(NamedTuple):
    """What the caller knows of where pins may lie.

    Args:
        given: ``--allowed-signers``.
        prefix: the environment that is installed into.
        mirror: the mirror that is imported into, or installed from.
    """

    given: Optional[Path] = None
    prefix: Optional[Path] = None
    mirror: Optional[Path] = None


def pins_of_prefix(prefix: Path) -> Path:
    """Say where an environment keeps its pins."""
    return prefix / ENVIRONMENT_FOLDER / _ALLOWED_SIGNERS


def pins_of_mirror(mirror: Path) -> Path:
    """Say where a mirror keeps its pins."""
    return mirror / MIRROR_FOLDER / _ALLOWED_SIGNERS


def pin_places(places: PinPlaces, environ: Mapping[str, str]) -> Tuple[Path, ...]:
    """List where pins may lie, in the order in which they count. One that was named must be there: it stands alone."""
    if places.given is not None:
        return (places.given,)
    named = environ.get(ALLOWED_SIGNERS_VARIABLE)
    if named:
        return (Path(named),)
    found = []
    if places.prefix is not None:
        found.append(pins_of_prefix(places.prefix))
    if places.mirror is not None:
        found.append(pins_of_mirror(places.mirror))
    home = environ.get("HOME") or environ.get("USERPROFILE")
    config = environ.get("XDG_CONFIG_HOME") or (home + "/.config" if home else None)
    if config:
        found.append(Path(config) / "pytorch-offline" / _ALLOWED_SIGNERS)
    found.append(_MACHINE_PINS)
    return tuple(found)


def read_pins(places: PinPlaces, environ: Mapping[str, str]) -> Optional[Pins]:
    """Read whom one trusts; None where no file says anything.

    Raises:
        UsageError: ``bad-allowed-signers`` for a file that was named and is not there, or cannot be read.
    """
    candidates = pin_places(places, environ)
    must_exist = places.given is not None or bool(environ.get(ALLOWED_SIGNERS_VARIABLE))
    for path in candidates:
        try:
            return Pins(str(path), _read_signers(path))
        except OSError as error:
            if not must_exist and error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise UsageError(
                "bad-allowed-signers",
                f"The file of allowed signers cannot be read: {error.strerror or error}.",
                facts={"file": str(path)},
                hint="Make it readable, or name another one with --allowed-signers.",
            ) from error
        except UnicodeDecodeError:
            raise UsageError(
                "bad-allowed-signers", "The file of allowed signers is not UTF-8.", facts={"file": str(path)}
            ) from None
    return None


def pins_after(status: SignatureStatus, *, pin: bool) -> Optional[str]:
    """Say how the file of pins should read from now on; None where nothing is to be written.

    A key is pinned only when told (``pin``) and only where nobody was; a change of keys that the old one signed is
    written down.
    """
    if status.renewed_pins is not None:
        return status.renewed_pins
    if (
        pin
        and status.signed
        and status.pinned_in is None
        and status.road is not None
        and status.signer_line is not None
    ):
        return status.signer_line + "\n"
    return None


def write_pins(path: Path, text: str) -> None:
    """Put a file of pins in place, whole or not at all.

    Raises:
        OSError: if the place cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(str(path), text.encode("utf-8"))


def _read_signers(path: Path) -> str:
    """Read a file of allowed signers, never more than one can be, and nothing that is not a file."""
    handle = os.open(str(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "It is not a file")
        data = file.read(MAX_ALLOWED_SIGNERS + 1)
    if len(data) > MAX_ALLOWED_SIGNERS:
        raise OSError(errno.EFBIG, f"It is longer than {MAX_ALLOWED_SIGNERS} bytes")
    return data.decode("utf-8")
