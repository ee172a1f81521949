"""What a family of models offers to the rest of the house, beside the models themselves. Functions take a whole
configuration unless they say otherwise."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from ml_collections import ConfigDict

from querypose_jax.layers.layouts import NameMap
from querypose_jax.models.base import PoseModel
from querypose_jax.structures import AnyArray, Batch, Poses

Shapes = Mapping[str, tuple[int, ...]]
"""Name in a released state dict -> shape."""
Rescoring = Callable[[Sequence[dict]], list[dict]]
"""COCO results -> the same people with other scores."""


class Origin(NamedTuple):
    """Who publishes weights, and what they allow."""

    publisher: str
    page: str
    """Where the publisher links the files."""
    terms: str
    """In a few words, as the publisher states them."""


class Released(NamedTuple):
    """A published checkpoint."""

    name: str
    """In words."""
    config: str
    """File under configs/ with its variant, e.g. coco_r50.py:light."""
    file: str = ""
    """As its publisher calls it; "" where no name is known."""
    address: str = ""
    """Where the file itself is, not a page or a folder; "" where there is no such link."""
    port: str = ""
    """The library whose port of the model it is for (a key of `OfficialWeights.ports`); "" for the authors' own."""
    origin: Origin | None = None
    """Where it is another one than its family's."""


@dataclass(frozen=True)
class OfficialWeights:
    """How the released code names its weights, and which checkpoints there are."""

    names: Callable[[ConfigDict], NameMap]
    """Our path of every variable -> its source in a state dict; UserError where the model has no released form."""
    trunk: Callable[[ConfigDict], NameMap]
    """The same of the trunk alone and what a trunk's file may hold besides, under the names to which files of trunks
    are translated (`backbones.names.trunk_names`)."""
    unused: re.Pattern
    """Names that carry nothing for us: counters, constants, what is never applied."""
    prefixes: tuple[str, ...]
    """How the names of a whole model begin."""
    hyper_parameters: Callable[[Shapes], dict[str, Any] | None]
    """Flat configuration keys that follow from names and shapes; None: these are not this family's."""
    released: tuple[Released, ...] = ()
    origin: Origin | None = None
    """Of the published checkpoints."""
    misfit: Callable[[Collection[str], Collection[str], Collection[str]], str | None] = lambda *names: None
    """(expected, missing, unexpected) names of a file that does not fit -> why, and the remedy, in one line."""
    ports: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """Another library that has a port of the whole model -> from its names to the released ones."""
    unapplied: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = lambda state: {}
    """What is applied, under released names -> what a released state dict holds besides."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Explanation:
    """A forward pass from inside; N queries in the same order everywhere. A family tells `attention` or `samples`."""

    stages: list[Poses]
    """Poses as each stage would give them, leading B; the last one's are the prediction."""
    stage_names: tuple[str, ...] = field(metadata={"static": True})
    attention: Float[AnyArray, "B N H W M"] | None = None
    """Weights over the box of each query, one map per part; each sums to 1."""
    samples: Float[AnyArray, "B N K _ 3"] | None = None
    """Places that each joint's query reads in the last layer: x, y in original pixels, and weights that sum to 1."""
    joint_boxes: Float[AnyArray, "B N K 4"] | None = None
    """xyxy, original pixels: the boxes over which joints' samples lie; None where joints are points."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JointExplanation:
    """A forward pass, from inside, of a family that finds joints first and puts people together from them."""

    poses: Poses
    """The prediction, leading B."""
    steps: list[Poses]
    """Who there is after each limb of `skeleton.limbs` was joined, in this order; leading B, original pixels."""
    heatmaps: Float[AnyArray, "B h w K"]
    """How likely each joint is at each cell."""
    offsets: Float[AnyArray, "B h w E 2"]
    """From a cell near the start of each limb to its end, network pixels."""
    stride: int = field(metadata={"static": True})
    """Network pixels per cell; the first cell's middle is the middle of the first `stride` pixels, whose centres are
    whole numbers."""


class Rows(NamedTuple):
    """What the indices along one axis of a parameter stand for, so that a model of other joints can take over some.

    A key begins with its kind ("joint", "class", "limb", "query"); names of joints and classes in it are the data's.
    """

    axis: int
    keys: tuple[tuple[tuple[str | int, ...], ...], ...]
    """Index -> the keys that it goes by: most have one, a part of a body has one for each of its joints."""


@dataclass(frozen=True)
class Family:
    """A kind of model. The first three are what it must offer."""

    build: Callable[[ConfigDict, nnx.Rngs], PoseModel]
    """The model, freshly initialised."""
    defaults: str
    """Module whose `get_config()` has all keys: those of configs/common.py and the family's own."""
    check: Callable[[ConfigDict], None]
    """Raises UserError where the family's own keys do not fit."""
    threshold: float = 0.3
    """Score from which a person is reported where no evaluation has found a better one."""
    rows: Callable[[ConfigDict, Sequence[str]], Mapping[str, Rows]] | None = None
    """(configuration, names of the classes) -> regular expression for dotted paths of parameters -> their rows: of
    every parameter whose shape or meaning depends on joints, classes, parts or queries."""
    may_change: tuple[str, ...] = ()
    """Flat keys that change how numbers are computed, not which: a run may be continued with others."""
    accumulates: bool = False
    """Whether losses are sums divided by what `Batch.whole` says, and nothing else looks at more than one picture:
    parts of a batch then add up to the whole."""
    exported: Mapping[str, Any] = field(default_factory=dict)
    """Flat keys that exported programs need other values of: calls of kernels are not stable across versions of jax."""
    weights: OfficialWeights | None = None
    explain: Callable[[Any, Batch], Explanation | JointExplanation] | None = None
    """(model, batch) -> a forward pass from inside, for figures."""
    rescorings: Callable[[ConfigDict], Mapping[str, Rescoring]] = lambda config: {}
    """What a released evaluation does to results before it scores them: numbers that compare, under these names."""
    ideal_outputs: Callable[[ConfigDict, Batch], Any] | None = None
    """(configuration, batch) -> what a network that knows the people of a batch would put out, of one stage; where
    making people of it is work of its own, worth a bench."""
    ways_to_predict: Mapping[str, Callable[[Any, Batch], Poses]] = field(default_factory=dict)
    """Name -> (model, batch) -> poses: more ways to predict that are worth a row of the bench."""
