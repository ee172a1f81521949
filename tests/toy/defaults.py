"""All keys of the toy family: the common ones and its own."""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.model.update(
        dict(
            name="toy",
            width=8,  # channels
            people=2,  # poses of a picture
        )
    )
    return config
