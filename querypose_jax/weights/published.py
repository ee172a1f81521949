"""Published files that have a link of their own: their names for --weights and --config.init_from, where they are, and
whose they are. docs/models.md is the table for people; a test holds that the two agree."""

from pathlib import Path
from typing import NamedTuple

from querypose_jax.models.family import Origin, Released
from querypose_jax.models.registry import get_family, names

TORCHVISION = Origin("torchvision", "https://github.com/pytorch/vision", "BSD-3-Clause (of the code)")
SWIN = Origin(
    "the authors of Swin Transformer", "https://github.com/microsoft/Swin-Transformer", "MIT (of the code)"
)  # fmt: skip
DETECTRON2 = Origin(
    "Detectron2, from torchvision's weights",
    "https://github.com/facebookresearch/detectron2",
    "Apache-2.0 (of the code)",
)
TORCHVISION_FILES = "https://download.pytorch.org/models/"
SWIN_FILES = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
DETECTRON2_FILES = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/torchvision/"


class Published(NamedTuple):
    """A file."""

    name: str
    """What --weights calls it."""
    file: str
    """What it is called on this machine."""
    address: str
    sha256: str
    """Its first digits, as many as are known; "" where none are."""
    config: str
    """File under configs/ that it is for; "" for a trunk."""
    origin: Origin | None


# torchvision puts the first eight digits of a file's SHA-256 into its name.
TRUNKS = (
    Published("resnet50-0676ba61", "resnet50-0676ba61.pth", TORCHVISION_FILES, "0676ba61", "", TORCHVISION),
    Published("resnet101-63fe2227", "resnet101-63fe2227.pth", TORCHVISION_FILES, "63fe2227", "", TORCHVISION),
    Published("R-50", "R-50.pkl", DETECTRON2_FILES, "", "", DETECTRON2),
    Published("R-101", "R-101.pkl", DETECTRON2_FILES, "", "", DETECTRON2),
    *(
        Published(name, f"{name}.pth", SWIN_FILES, "", "", SWIN)
        for name in (
            "swin_tiny_patch4_window7_224",
            "swin_base_patch4_window7_224_22k",
            "swin_large_patch4_window7_224_22k",
            "swin_large_patch4_window12_384_22k",
        )
    ),
)


def published() -> list[Published]:
    """Every published file with a link of its own: models of the families, then trunks."""
    found = []
    for family in names():
        weights = get_family(family).weights
        for released in weights.released if weights else ():
            if released.address:
                name, file = names_of(released)
                origin = released.origin or weights.origin
                found.append(Published(name, file, released.address, "", released.config, origin))
    return found + [trunk._replace(address=trunk.address + trunk.file) for trunk in TRUNKS]


def names_of(released: Released) -> tuple[str, str]:
    """What --weights calls a published checkpoint, and its file: by its publisher's name, else by its configuration."""
    if released.file:
        return Path(released.file).stem, released.file
    name = released.config.replace(".py", "")
    return name, name.replace("/", "_").replace(":", "_") + ".pth"


def published_under(file: str) -> Origin | None:
    """Whose a trunk's file is by its name; None for a name that nobody here knows."""
    return next((trunk.origin for trunk in TRUNKS if trunk.file == file), None)
