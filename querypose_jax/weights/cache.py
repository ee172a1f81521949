"""Imports of weights files in the user's cache, under the checksum of the file: made once, found again at once."""

import hashlib
import json
import shutil
from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import newest_step
from querypose_jax.checkpoints.config_json import read_config
from querypose_jax.errors import UserError
from querypose_jax.files import cache_folder
from querypose_jax.weights.formats import check_file, checksum
from querypose_jax.weights.importing import import_weights

FOLDER = "weights"


def imported(path: Path, config: ConfigDict | None = None) -> tuple[Path, list[str]]:
    """The folder of an import of a file, and the lines of its report; no lines where it was there already.

    Args:
        path: a file of weights.
        config: of the model; None: told from the file.

    Raises:
        UserError: as `import_weights`.
    """
    check_file(path)
    folder = cache_folder() / FOLDER / (checksum(path) + config_key(config))
    if is_whole(folder):
        return folder, []
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier version of this library
    try:
        return folder, import_weights(path, None, config, folder)
    except (OSError, UserError):
        if is_whole(folder):  # another process was faster
            return folder, []
        raise


def config_key(config: ConfigDict | None) -> str:
    """What tells imports of one file apart: the model that it is taken for."""
    if config is None:
        return ""
    model = {"model": config.model.to_dict(), "skeleton": str(config.data.skeleton)}
    return "-" + hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:12]


def is_whole(folder: Path) -> bool:
    """Whether an import of this version is in a folder."""
    try:
        read_config(folder)
    except UserError:
        return False
    return newest_step(folder) is not None
