"""From a configuration to what training works with: a first state and the step."""

import jax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from querypose_jax.checkpoints.train_state import TrainState, init_state, shardings
from querypose_jax.devices import sharding
from querypose_jax.models.registry import build_model
from querypose_jax.training.optimizer import learning_rate, make_optimizer
from querypose_jax.training.step import TrainStep, make_train_step


def new_state(config: ConfigDict) -> tuple[nnx.GraphDef, TrainState]:
    """The model's structure and a freshly drawn state, on one device."""
    optimizer = make_optimizer(config.optimizer, config.train.num_steps)
    model = build_model(config, rngs=nnx.Rngs(config.train.seed))
    return init_state(model, optimizer, config.train.ema_decay > 0, config.optimizer.freeze)


def new_step(config: ConfigDict, graphdef: nnx.GraphDef, mesh: Mesh, rule: str = "replicated") -> TrainStep:
    """The step for such states, not yet compiled; `rule` of sharding.RULES."""
    train = config.train
    optimizer = make_optimizer(config.optimizer, train.num_steps)
    schedule = learning_rate(config.optimizer, train.num_steps)
    given = train.seed, train.ema_decay, config.optimizer.freeze, train.accumulate
    return make_train_step(graphdef, optimizer, schedule, mesh, rule, *given)


def build(config: ConfigDict) -> tuple[Mesh, nnx.GraphDef, TrainState, TrainStep]:
    """The devices, the model's structure, a freshly drawn state where it belongs, and the step, not yet compiled.

    Raises:
        UserError: the devices are not there, or the batch does not split over them.
    """
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(config.data.batch_size, mesh)
    graphdef, state = new_state(config)
    state = sharding.put(state, shardings(state, config.mesh.parameters, mesh))
    return mesh, graphdef, state, new_step(config, graphdef, mesh, config.mesh.parameters)


def abstract_state(config: ConfigDict) -> tuple[nnx.GraphDef, TrainState]:
    """The structure of a model, and the shapes of its training state; costs no memory."""
    graphdefs: list[nnx.GraphDef] = []

    def make() -> TrainState:
        graphdef, state = new_state(config)
        graphdefs.append(graphdef)
        return state

    shapes = jax.eval_shape(make)
    return graphdefs[0], shapes
