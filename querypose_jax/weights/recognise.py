"""What a file of weights is: family, sizes and joints by the names and shapes of its tensors, and which of the
published checkpoints that leaves.

Nothing is guessed. Numbers of heads and of queries leave no trace in names and shapes, so that a model of sizes that
nobody has published needs its configuration said.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.configuration.flat import flat
from querypose_jax.errors import UserError
from querypose_jax.models.family import OfficialWeights, Origin, Released, Shapes
from querypose_jax.models.registry import get_family, names
from querypose_jax.skeletons import SKELETONS
from querypose_jax.weights.published import names_of
from querypose_jax.weights.report import few
from querypose_jax.weights.sources import architecture

SKELETON = "data.skeleton"
SHOWN = 3  # keys of a difference


class Recognised(NamedTuple):
    """A whole model of a family."""

    name: str
    """In words."""
    source: str
    """Whose names the file has: one of sources.SOURCES."""
    config: ConfigDict
    origin: Origin | None
    """None: not one of the published checkpoints."""


def recognise(path: Path, tensors: Mapping[str, np.ndarray]) -> Recognised:
    """The whole model that a file holds.

    Args:
        path: its name decides between published checkpoints that are alike, where it is that of one of them.
        tensors: name in the file -> array.

    Raises:
        UserError: no model of a known family, the trunk of one alone, a model of sizes that nobody has published, or
            one of several that look the same; with the flag that decides.
    """
    for family in names():
        weights = get_family(family).weights
        for source, found in told_by(weights, tensors) if weights else ():
            return chosen(path, weights, source, found)
    trunk = architecture(tensors)
    if trunk:
        raise UserError(
            f"{path} holds {trunk} alone{classifier(tensors)}, not a pose model; train one from it: "
            f"--config.init_from={path} with a configuration of that trunk"
        )
    raise UserError(
        f"{path} holds no pose model that is known here (families {', '.join(names())}): its names are "
        f"{few(list(tensors))}"
    )


def told_by(weights: OfficialWeights, tensors: Mapping[str, np.ndarray]) -> list[tuple[str, dict[str, Any]]]:
    """(source, what names and shapes tell) where a family knows the file, by its authors' names or those of a port."""
    told = []
    renames: dict[str, Callable[[str], str]] = {"official": str, **weights.ports}
    for source, rename in renames.items():
        shapes: Shapes = {rename(name): x.shape for name, x in tensors.items()}
        try:
            found = weights.hyper_parameters(shapes)
        except (LookupError, ValueError, ArithmeticError):  # some of the family's names, and not the others
            continue
        if found:
            told.append((source, found))
    return told


def chosen(path: Path, weights: OfficialWeights, source: str, found: Mapping[str, Any]) -> Recognised:
    """The published checkpoint that has these hyper-parameters, or one made of published sizes."""
    configs = {released: released_config(released.config) for released in weights.released}
    fitting = published_like(weights, source, found)
    named = [r for r in fitting if Path(names_of(r)[1]).stem in path.name]
    candidates = list({r.config: r for r in named or fitting}.values())
    if len(candidates) == 1:
        (only,) = candidates
        return Recognised(only.name, source, configs[only], only.origin or weights.origin)
    if candidates:
        flags = ", ".join(f"--config=configs/{r.config} ({r.name})" for r in candidates)
        raise UserError(f"{path} may be one of {len(candidates)} that look the same; say which: {flags}")
    nearest = min(configs, key=lambda released: len(differing(found, configs[released])))
    if not of_published_sizes(found, list(configs.values())):
        keys = differing(found, configs[nearest])
        shown = few([f"{key} {found.get(key)} instead of {flat(configs[nearest])[key]}" for key in keys], SHOWN)
        raise UserError(
            f"{path} holds a model like {nearest.name}, but of sizes that nobody has published ({shown}); "
            "name its configuration with --config=FILE"
        )
    config = configs[nearest]
    config.update_from_flattened_dict(found)
    return Recognised(f"a relative of {nearest.name} ({found[SKELETON]} joints)", source, config, None)


def taken_for(tensors: Mapping[str, np.ndarray], config: ConfigDict) -> Recognised | None:
    """A file of a whole model of the configuration's family, with the origin of the published checkpoints that it looks
    like: their terms hold whoever says what it is. None: it is not told by names and shapes."""
    weights = get_family(config.model.name).weights
    for source, found in told_by(weights, tensors) if weights else ():
        alike = published_like(weights, source, found)
        same = [r for r in alike if released_config(r.config).data.name == config.data.name]
        name = " or ".join(r.name for r in same or alike) or f"a model of the family {config.model.name}"
        return Recognised(name, source, config, (alike[0].origin or weights.origin) if alike else None)
    return None


def published_like(weights: OfficialWeights, source: str, found: Mapping[str, Any]) -> list[Released]:
    """The published checkpoints whose names and shapes tell the same."""
    port = "" if source == "official" else source
    return [r for r in weights.released if r.port == port and not differing(found, released_config(r.config))]


def differing(found: Mapping[str, Any], config: ConfigDict) -> list[str]:
    """Keys whose values are others than those of a configuration; the joints too where they cannot be told."""
    values = flat(config)
    return [key for key in {SKELETON: None, **found} if found.get(key) != values[key]]


def of_published_sizes(found: Mapping[str, Any], configs: list[ConfigDict]) -> bool:
    """Whether each value is that of some published checkpoint, and the joints are known."""
    published = [flat(config) for config in configs]
    sizes = (key for key in found if key != SKELETON)
    return found.get(SKELETON) in SKELETONS and all(any(found[key] == p[key] for p in published) for key in sizes)


def released_config(file: str) -> ConfigDict:
    """The configuration of a file under configs/ with its variant, such as coco_r50.py:light."""
    name, _, variant = file.partition(":")
    get_config = import_module("configs." + name.removesuffix(".py").replace("/", ".")).get_config
    return get_config(variant) if variant else get_config()


def classifier(tensors: Mapping[str, np.ndarray]) -> str:
    """ ", with the head of a classifier of 1000 classes" where there is one, else ""."""
    for head in ("fc.weight", "stem.fc.weight", "head.weight", "head.fc.weight", "classifier.weight"):
        if head in tensors and tensors[head].ndim == 2:
            return f", with the head of a classifier of {len(tensors[head])} classes"
    return ""
