"""What a Group Pose wants of its own keys."""

from ml_collections import ConfigDict

from querypose_jax.checks import require
from querypose_jax.models.deformable.check import check_sizes


def check(config: ConfigDict) -> None:
    """Sizes fit each other, the used stages exist, every person of a picture has a query of its own.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    check_sizes(config)
    queries = config.model.num_queries
    too_many = f"is more than model.num_queries={queries}: keep at most {queries} people, one for each query"
    require(config.data.max_people <= queries, config, "data.max_people", too_many)
