"""A run of the toy family in seconds: python -m tests.toy.run --config=tests/toy/config.py --workdir=DIR"""

from ml_collections import ConfigDict

from tests.toy import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.data.update(
        recipe="querypose", name="synthetic", root="",
        batch_size=2, max_people=4, crop=0.0, short_sides=(160,), eval_short_side=160,
        longest_side=192, canvases=((160, 192),), workers=1,
    )  # fmt: skip
    config.data.synthetic = ConfigDict(
        dict(train_pictures=12, val_pictures=4, height=160, width=192, max_people=3, seed=0)
    )
    config.optimizer.update(learning_rate=1e-3, warmup_steps=0)
    config.train.update(num_steps=12, seed=0, log_every=1, checkpoint_every=3)
    config.eval.update(every=0, batch_size=2, num_drawn=2)
    return config
