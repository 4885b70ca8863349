"""What stands on a volume, for whoever holds it in the hand; made from the manifest, so that it can be checked."""

from pytorch_offline.bundle.format.model import Manifest

LABEL_NAME = "VOLUME.txt"


def volume_name(number: int) -> str:
    """Give the name of a volume's directory, which is also what to write on the disc."""
    return f"volume-{number:03d}"


def render_label(manifest: Manifest, number: int) -> bytes:
    """Say which volume of which bundle this is, and how it is used."""
    lines = (
        f"{volume_name(number)}: volume {number} of {manifest.volumes} of a pytorch-offline bundle",
        "",
        f"bundle   {manifest.id}",
        f"made     {manifest.created}",
        "targets  {}".format(", ".join(lock.target for lock in manifest.targets) or "none"),
        "",
        "All volumes are needed, in any order, on any media. To install from them:",
        "",
        "    python3 install.py --venv ENVIRONMENT --from DIRECTORY --from DIRECTORY ...",
        "",
        "with the directory of each volume, or of one that holds them; volumes that lie beside this one are found.",
        "",
    )
    return "\n".join(lines).encode("utf-8")
