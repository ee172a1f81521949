"""What an ED-Pose wants of its own keys."""

from ml_collections import ConfigDict

from querypose_jax.checks import check_ranges, require
from querypose_jax.models.deformable.check import check_sizes

POSITIVE = ("model.num_instances", "model.box_layers", "model.denoising.queries", "model.loss.pictures_per_group")


def check(config: ConfigDict) -> None:
    """Sizes fit each other, the used stages exist, every person of a picture has an instance and a denoising query.

    Raises:
        UserError: the first thing found, with key, value and what is allowed.
    """
    check_sizes(config)
    check_ranges(config, positive=POSITIVE, shares=("model.denoising.label_noise", "model.denoising.box_noise"))
    model, people = config.model, config.data.max_people
    no_poses = f"must be less than model.decoder_layers={model.decoder_layers}: joints need a layer"
    require(model.box_layers < model.decoder_layers, config, "model.box_layers", no_poses)
    fewer = f"is more than model.num_queries={model.num_queries}, from which they are chosen"
    require(model.num_instances <= model.num_queries, config, "model.num_instances", fewer)
    columns = model.num_classes + 1
    require(model.denoising.labels >= columns, config, "model.denoising.labels", f"must be at least {columns}")
    for key, what in (("num_instances", "an instance"), ("denoising.queries", "a denoising query")):
        limit = model.num_instances if key == "num_instances" else model.denoising.queries
        too_many = f"is more than model.{key}={limit}: keep at most {limit} people, each needs {what} of its own"
        require(people <= limit, config, "data.max_people", too_many)
