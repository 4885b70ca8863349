"""Who made the bundle that lies in some directories: its signatures, judged by the pins that count here."""

from typing import Callable, List, Mapping, Optional

from pytorch_offline.bundle.format.manifest import ROTATIONS_NAME
from pytorch_offline.bundle.reading.media import read_regular
from pytorch_offline.bundle.reading.pins import PinPlaces, read_pins
from pytorch_offline.bundle.reading.rotation import MAX_ROTATIONS
from pytorch_offline.bundle.reading.signature import SignatureStatus, check_signature
from pytorch_offline.bundle.reading.sources import Source
from pytorch_offline.errors import IntegrityError

# Codes of what may be wrong with one of several copies and right with another.
_COPY_CODES = ("bad-signature", "bad-rotation")


def judge_source(
    source: Source,
    places: PinPlaces,
    environ: Mapping[str, str],
    now: Callable[[], float],
    *,
    allow_unsigned: bool = False,
) -> SignatureStatus:
    """Judge a bundle by the signatures that lie beside its manifest; one that is right is enough.

    A mirror has no signature, and counts as an unsigned bundle: otherwise a bundle that looks like one would pass.

    Raises:
        IntegrityError: as ``check_signature``.
        UsageError: ``bad-allowed-signers``.
    """
    pins = read_pins(places, environ)
    refusals: List[IntegrityError] = []
    signatures: List[Optional[bytes]] = list(source.signatures)
    if allow_unsigned and not signatures:
        return SignatureStatus(signed=False)
    for signature in signatures or [None]:
        for rotations in _copies_of_rotations(source):
            try:
                return check_signature(source.manifest_bytes, signature, pins=pins, rotations=rotations, now=int(now()))
            except IntegrityError as refusal:
                refusals.append(refusal)
    raise next((refusal for refusal in refusals if refusal.code not in _COPY_CODES), refusals[0])


def _copies_of_rotations(source: Source) -> List[Optional[bytes]]:
    """Read the distinct copies of the changes of keys; one None where there is no such file."""
    found: List[Optional[bytes]] = []
    for path in source.copies_of(ROTATIONS_NAME):
        try:
            copy = read_regular(path, MAX_ROTATIONS)
        except OSError:
            continue
        if copy not in found:
            found.append(copy)
    return found or [None]
