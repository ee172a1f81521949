"""A run of the fake model as a program of its own, so that it can be killed: python -m tests.resume.fake_run DIR."""

import sys
import time

from querypose_jax.training import loop
from tests.training.fakes import fake_batches, fake_config


def slow_batches(start_step: int):
    for batch in fake_batches()(start_step):
        time.sleep(0.03)
        yield batch


if __name__ == "__main__":
    config = fake_config(num_steps=60, log_every=1, checkpoint_every=4, ema_decay=0.9)
    loop.train(config, slow_batches, sys.argv[1])
