"""What config.init_from stands for: the folder of a run or an import, or a file of weights, which is imported first."""

from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.checkpoints.names import Names, check_start
from querypose_jax.errors import UserError
from querypose_jax.models.registry import family_of
from querypose_jax.weights.cache import imported
from querypose_jax.weights.download import local_file


def weights_of(config: ConfigDict) -> Path | None:
    """The folder with the weights that a run starts from; None where it starts from none.

    A file of a whole model is imported as what it is, one of a trunk as that of this configuration's model.

    Raises:
        UserError: neither folder nor file of weights.
    """
    given = config.init_from
    if not given or Path(given).is_dir():
        return Path(given) if given else None
    file = local_file(given)
    try:
        return imported(file)[0]
    except UserError:  # a trunk, or sizes of one's own
        return imported(file, config)[0]


def check_start_names(config: ConfigDict, folder: Path | None, names: Names) -> str:
    """Of families that carry nothing over by name: joints and classes must be in the order of the weights."""
    return check_start(folder, names) if folder and family_of(config).rows is None else ""
