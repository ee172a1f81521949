"""The verb plan: what a TPU slice would need for a configuration, without one."""

from ml_collections import ConfigDict

from querypose_jax.inference.predict import make_predict
from querypose_jax.planning.plan import Makers, print_plan
from querypose_jax.training.build import abstract_state, new_step

MAKERS = Makers(abstract_state, new_step, make_predict)


def plan(config: ConfigDict, topology: str) -> None:
    """Prints the tables; UserError for an unknown topology or where the compiler is not installed.

    With train.accumulate they are those of a micro-batch: no more than one is on a chip at a time.
    """
    config = config.copy_and_resolve_references()
    config.data.batch_size //= config.train.accumulate
    config.train.accumulate = 1
    print_plan(config, topology, MAKERS)
