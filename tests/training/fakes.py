"""A family of a few dozen parameters and random batches: everything a training run needs, in milliseconds."""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from configs import common
from querypose_jax.models.base import PoseModel
from querypose_jax.models.family import Family
from querypose_jax.models.registry import register
from querypose_jax.structures import Batch, PeopleBudget


class Frozen(nnx.Variable):
    """A weight that no optimizer may touch."""


class FakeModel(PoseModel):
    """Mean colour -> four numbers, with one of each kind of variable: trained, frozen, running statistic."""

    def __init__(self, rngs: nnx.Rngs, width: int = 8):
        self.backbone = nnx.Linear(3, width, rngs=rngs)
        self.scale = Frozen(jnp.full(width, 2.0))
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.flow = nnx.Linear(width, 4, rngs=rngs)

    def __call__(self, batch: Batch, train: bool = False, key=None):
        colour = batch.image.astype(jnp.float32).mean((1, 2)) / 255
        return self.flow(self.norm(self.backbone(colour) * self.scale[...], use_running_average=not train))

    def loss(self, outputs, batch: Batch):
        distance = jnp.abs(outputs - batch.boxes[:, 0]).mean()
        return 2 * distance + 1, {"l1": 2 * distance, "constant": jnp.ones(())}


def get_config() -> ConfigDict:
    """The family's keys on top of the common ones."""
    config = common.get_config()
    config.model.update(name="fake", width=8)
    return config


def fake_config(**train) -> ConfigDict:
    """A run of a few fast steps; keyword arguments go to its train group."""
    config = get_config()
    config.data.batch_size = 4
    config.data.update(recipe="querypose", canvases=((160, 192),))
    rates = (("flow", 1.0), ("backbone", 1.0))
    config.optimizer.update(learning_rate=1e-3, rate_factors=rates, warmup_steps=3, schedule="cosine")
    config.train.seed = 0
    config.eval.every = 0
    config.train.update({"num_steps": 12, "log_every": 2, "checkpoint_every": 5, **train})
    return config


def fake_batches(batch_size: int = 4, poisoned_step: int | None = None) -> Callable[[int], Iterator[Batch]]:
    """Batches that depend on their step alone; the one of index `poisoned_step` holds a NaN."""

    def batches(start_step: int) -> Iterator[Batch]:
        step = start_step
        while True:
            rng = np.random.default_rng(step)
            boxes = rng.normal(size=(batch_size, 2, 4)).astype(np.float32)
            if step == poisoned_step:
                boxes[0] = np.nan
            yield Batch(
                image=rng.integers(0, 256, (batch_size, 8, 8, 3), dtype=np.uint8),
                valid_size=np.full((batch_size, 2), 8, np.int32),
                orig_size=np.full((batch_size, 2), 8, np.int32),
                image_id=np.arange(batch_size, dtype=np.int32),
                inv_affine=np.tile(np.eye(2, 3, dtype=np.float32), (batch_size, 1, 1)),
                boxes=boxes,
                keypoints=np.zeros((batch_size, 2, 17, 3), np.float32),
                area=np.ones((batch_size, 2), np.float32),
                label=np.zeros((batch_size, 2), np.int32),
                is_person=np.ones((batch_size, 2), bool),
                budget=PeopleBudget(1, 8),
            )
            step += 1

    return batches


FAMILY = Family(
    build=lambda config, rngs: FakeModel(rngs, config.model.width),
    defaults="tests.training.fakes",
    check=lambda config: None,
)
register("fake", FAMILY)
