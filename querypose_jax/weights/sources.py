"""Whose file it is: the names of other libraries on the released ("official") names of a QueryPose.

Every rule turns one name of a trunk's file into the name below `backbone.bottom_up.`; a name it does not know stays as
it is and is then found to be unexpected.
"""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.backbones.recognise import trunk_in_words
from querypose_jax.errors import UserError, one_line
from querypose_jax.models.registry import family_of

TRUNK = "backbone.bottom_up."
Rule = Callable[[str], str]


class Translated(NamedTuple):
    """A file in official names."""

    tensors: dict[str, np.ndarray]
    unused: list[str]  # names in the file that are known to be of no use here
    of_trunk: bool  # the file is that of a trunk: pyramid and head are not expected in it
    may_miss: re.Pattern  # official names of the trunk that such a file does not have


def as_it_is(name: str) -> str:
    """The authors' own names."""
    return name


def resnet_of_torchvision(name: str) -> str:
    """torchvision's and timm's ResNet."""
    name = re.sub(r"^conv1\.", "stem.conv1.", name)
    name = re.sub(r"^bn1\.", "stem.conv1.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", name)
    name = name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)


def swin_of_torchvision(name: str) -> str:
    """torchvision numbers the parts of a Swin: patches, blocks of stage 0, merging, blocks of stage 1, ..."""
    name = re.sub(r"^features\.0\.0\.", "patch_embed.proj.", name)
    name = re.sub(r"^features\.0\.2\.", "patch_embed.norm.", name)
    name = re.sub(r"^features\.([1357])\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.", name)
    name = re.sub(r"^features\.([246])\.", lambda m: f"layers.{int(m[1]) // 2 - 1}.downsample.", name)
    return name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")


def swin_of_timm(name: str) -> str:
    """timm counts the merging to the stage that follows it."""
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) - 1}.downsample.", name)


RULES: dict[tuple[str, str], Rule] = {
    ("official", "resnet"): as_it_is,  # the files that the released code starts from
    ("official", "hrnet"): as_it_is,
    ("official", "swin"): as_it_is,
    ("detectron2", "resnet"): as_it_is,
    ("hrnet", "hrnet"): as_it_is,
    ("timm", "hrnet"): as_it_is,
    ("torchvision", "resnet"): resnet_of_torchvision,
    ("timm", "resnet"): resnet_of_torchvision,
    ("torchvision", "swin"): swin_of_torchvision,
    ("timm", "swin"): swin_of_timm,
    ("centernet", "hourglass"): as_it_is,
}
PORTS = ("mmpose",)  # have whole models of some families (`OfficialWeights.ports`)
SOURCES = (*dict.fromkeys(source for source, _ in RULES), *PORTS)

# Heads of other tasks, counters, constants; in the file's names.
UNUSED = {
    "resnet": re.compile(r"^(stem\.)?fc\.|\.num_batches_tracked$"),
    "hrnet": re.compile(r"^(final_layer|incre_modules|downsamp_modules|classifier)\.|\.num_batches_tracked$"),
    "swin": re.compile(r"^(norm|head)\.|\.attn_mask$|\.relative_position_index$"),
    "hourglass": re.compile(r"^(hm|wh|hps|reg|hm_hp|hp_offset)\.|\.num_batches_tracked$"),
}
NOTHING = re.compile(r"(?!)")
STAGE_NORMS = re.compile(r"^backbone\.bottom_up\.norm[0-3]\.")  # of detection; classifiers have one norm at the end
# A pose network ends with one map: the last fusions to the coarser ones are not in its file.
LAST_FUSIONS = re.compile(r"^backbone\.bottom_up\.stage4\.2\.fuse_layers\.[123]\.")


def rule_for(source: str, trunk: str, names: Collection[str]) -> Rule:
    """How a source calls a trunk (config.model.backbone.name); `names` are those of the file.

    Raises:
        UserError: this source has no such trunk.
    """
    if (source, trunk) not in RULES:
        known = ", ".join(source for source, other in RULES if other == trunk)
        raise UserError(f"--source={source} has no weights for config.model.backbone.name={trunk!r}; use {known}")
    rule = RULES[source, trunk]
    if rule is swin_of_timm and any(name.startswith("layers.0.downsample.") for name in names):
        return as_it_is  # timm before 0.9, and Swin's authors
    return rule


def from_port(tensors: dict[str, np.ndarray], source: str, config: ConfigDict) -> tuple[dict[str, np.ndarray], str]:
    """Tensors of a file and whose names they have: the authors' where the file is another library's of the whole model.

    Raises:
        UserError: this library has no such model, or two names of the file mean the same.
    """
    if source not in PORTS:
        return tensors, source
    ports = family_of(config).weights.ports
    if source not in ports:
        raise UserError(f"--source={source} has no weights for config.model.name={config.model.name!r}")
    renamed: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if ports[source](name) in renamed:
            raise UserError(
                f"two names of the file are both {one_line(ports[source](name))}; leave one out of the file"
            )
        renamed[ports[source](name)] = tensor
    return renamed, "official"


def is_whole(names: Collection[str], source: str, config: ConfigDict, expected: Collection[str]) -> bool:
    """Whether a file's names are those of a released model, not of a trunk alone; `expected`: those of the model."""
    beginnings = family_of(config).weights.prefixes
    return source == "official" and any(name.startswith(beginnings) and name in expected for name in names)


def translate(
    tensors: Mapping[str, np.ndarray], source: str, config: ConfigDict, expected: Collection[str]
) -> Translated:
    """The tensors of a file under official names.

    Args:
        tensors: name in the file -> array.
        source: one of SOURCES.
        config: of the model.
        expected: official names of the model.

    Raises:
        UserError: this source has no such trunk, or two names of the file mean the same.
    """
    official = family_of(config).weights
    if is_whole(tensors, source, config, expected):
        unused = [name for name in tensors if name not in expected and official.unused.search(name)]
        rest = {name: x for name, x in tensors.items() if name not in set(unused)}
        return Translated(rest, unused, of_trunk=False, may_miss=NOTHING)
    trunk = config.model.backbone.name
    rule = rule_for(source, trunk, tensors)
    named: dict[str, str] = {}
    unused = []
    for name in tensors:
        short = name.removeprefix("backbone.").removeprefix("bottom_up.")
        of_pyramid = f"backbone.{short}" in expected
        ours = f"backbone.{short}" if of_pyramid else TRUNK + rule(short)
        if ours not in expected and (UNUSED[trunk].search(short) or official.unused.search(ours)):
            unused.append(name)
        elif ours in named:
            raise UserError(
                f"{one_line(named[ours])} and {one_line(name)} are both {one_line(ours)}; leave one out of the file"
            )
        else:
            named[ours] = name
    renamed = {ours: tensors[name] for ours, name in named.items()}
    poses = source in ("hrnet", "official")
    may_miss = {"swin": STAGE_NORMS, "hrnet": LAST_FUSIONS if poses else NOTHING}.get(trunk, NOTHING)
    return Translated(renamed, unused, of_trunk=True, may_miss=may_miss)


def guess_source(tensors: Mapping[str, np.ndarray], config: ConfigDict, expected: Collection[str]) -> str:
    """The source by whose rule most names of a file become names of the model; the first of equals."""

    def hits(source: str) -> int:
        try:
            renamed, of = from_port(dict(tensors), source, config)
            found = translate(renamed, of, config, expected)
        except UserError:
            return 0
        return sum(name in expected for name in found.tensors)

    return max(SOURCES, key=hits)


def architecture(tensors: Mapping[str, np.ndarray]) -> str | None:
    """The trunk in a file of any source, in words such as HRNet-W32; None for one that is not known."""
    for rule in (as_it_is, resnet_of_torchvision, swin_of_torchvision):
        shapes = {rule(name.split("bottom_up.")[-1]): x.shape for name, x in tensors.items()}
        with suppress(LookupError):  # a single number in the place of a kernel
            if found := trunk_in_words(shapes):
                return found
    return None
