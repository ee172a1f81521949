"""State dicts with damaged names and shapes, recognised, and fitted into the model that they are taken for."""

import functools
import random
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.weights import importing
from querypose_jax.weights.formats import WeightsFile
from querypose_jax.weights.official import abstract, official_shapes, official_weights
from querypose_jax.weights.recognise import recognise, released_config
from tests.tiny_family import FAMILIES, get_config

RELEASED = ("coco_r50.py:light", "coco_hrnet_w32.py:light", "edpose/coco_r50.py", "grouppose/coco_swin_t.py",
            "simplepose/coco_hourglass104.py")  # fmt: skip
PREFIXES = ("module.", "backbone.", "model.", "backbone.bottom_up.", "head.", "x" * 300)
FILES = ("x.pth", "edpose_r50_coco.pth", "R-50.pkl", "swin_tiny_patch4_window7_224.pth")
SIDES = (0, 1, 2, 3, 17, 34, 100, 257, 1000, 2**20)
LARGEST = 2**40  # numbers of a tensor, which takes no memory here
KINDS = (np.float32, np.float16, np.float64, np.int64, np.bool_, np.complex64)
Shapes = Mapping[str, tuple[int, ...]]


class State(NamedTuple):
    """A state dict without numbers of its own."""

    file: str
    shapes: Shapes
    kinds: Mapping[str, type]
    """Of tensors that are not float32."""
    config: ConfigDict | None
    """Of the model that it is said to be; None: that is to be told."""


@functools.cache
def sound_states() -> list[tuple[Shapes, ConfigDict | None]]:
    """Official names and shapes of tiny models, each with its configuration, and of published ones and their trunks."""
    released = [released_config(name) for name in RELEASED]
    found: list[tuple[Shapes, ConfigDict | None]] = []
    for config in map(get_config, FAMILIES):
        with suppress(UserError):  # a tiny trunk that nobody has published
            found.append((official_shapes(*abstract(config)), config))
    for config in released:
        variables, names = abstract(config)
        whole = official_shapes(variables, names)
        trunk = official_weights(config).trunk(config)
        of_trunk = official_shapes({path: x for path, x in variables.items() if path in trunk}, trunk)
        short = {name.removeprefix("backbone.").removeprefix("bottom_up."): shape for name, shape in of_trunk.items()}
        found += [(whole, None), (short, None)]
    return found


def states(rng: random.Random) -> State:
    """A sound one after some changes of names and shapes."""
    shapes, config = rng.choice(sound_states())
    changed = dict(shapes)
    if rng.random() < 0.2:
        ending = rng.choice(("weight", "bias", r"\d", "norm", "layers", "head", "running"))
        changed = {name: shape for name, shape in changed.items() if not re.search(ending, name)}
    if rng.random() < 0.1:
        prefix = rng.choice(PREFIXES)
        changed = {prefix + name: shape for name, shape in changed.items()}
    for _ in range(rng.choice((0, 1, 1, 2, 5, 40))):
        if changed:
            change(changed, rng)
    kinds = {name: rng.choice(KINDS) for name in rng.sample(sorted(changed), min(len(changed), rng.choice((0, 0, 2))))}
    return State(rng.choice(FILES), changed, kinds, config)


def change(shapes: dict[str, tuple[int, ...]], rng: random.Random) -> None:
    """Leaves a name out, changes it, or changes its shape (in place)."""
    name = rng.choice(list(shapes))
    shape = list(shapes[name])
    match rng.randrange(6):
        case 0:
            del shapes[name]
        case 1:
            del shapes[name]
            shapes[name.replace(rng.choice(name), rng.choice(("", "0", "9", ".", "\x1b[2J", "٣", "\n")))] = tuple(shape)
        case 2:
            numbers = re.findall(r"\d+", name)
            if numbers:
                shapes[name.replace(rng.choice(numbers), str(rng.choice(SIDES)))] = tuple(shape)
        case 3:
            shapes[name] = tuple(shape[: rng.randrange(3)])
        case 4:
            shapes[name] = (*shape, rng.choice(SIDES))
        case _ if shape:
            shape[rng.randrange(len(shape))] = rng.choice(SIDES)
            shapes[name] = tuple(shape)
    if name in shapes and np.prod(shapes[name], dtype=float) > LARGEST:
        shapes[name] = (2, 2)


@functools.cache
def tensor(shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Zeros that take no memory."""
    return np.broadcast_to(kind(0), shape)


@functools.cache
def abstract_once() -> Callable[[ConfigDict], tuple]:
    """`abstract` that makes the model of each configuration once: half a second."""
    made: dict[int, tuple] = {}

    def made_once(config: ConfigDict) -> tuple:
        if id(config) not in made:
            made[id(config)] = abstract(config)
        return made[id(config)]

    return made_once


def use_state(state: State, folder: Path, rng: random.Random) -> None:
    """Recognises it; one that is said to be a tiny model is fitted into that, as others would take seconds each."""
    tensors = {name: tensor(shape, state.kinds.get(name, np.float32)) for name, shape in state.shapes.items()}
    path, file = Path(state.file), WeightsFile(tensors, [], "")
    if state.config is None or rng.random() < 0.5:
        recognise(path, tensors)
        return
    model = importing.what_it_holds(path, file, None, state.config)
    importing.abstract = abstract_once()
    importing.fit(path, file, model.source, state.config, rng.choice((None, "weight", ".")))
