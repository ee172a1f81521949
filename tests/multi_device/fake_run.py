"""A run of the fake model in one of several processes: python -m tests.multi_device.fake_run DIR PORT ID COUNT [STEPS].

A learning rate may follow (to disagree on). Prints the last step; SIGTERM ends it, saved, with exit code 0.
"""

import sys
import time

import jax

from querypose_jax import errors
from querypose_jax.devices import distributed, preemption
from querypose_jax.training import loop
from tests.training.fakes import fake_batches, fake_config

HEARTBEAT_S = 30


def own_share(start_step: int):
    """This process's part of the batches of eight pictures."""
    part = 8 // jax.process_count()
    own = slice(jax.process_index() * part, (jax.process_index() + 1) * part)
    for batch in fake_batches(batch_size=8)(start_step):
        time.sleep(0.03)
        yield jax.tree.map(lambda x: x[own], batch)


def main(workdir: str, port: str, process_id: str, count: str, steps: str = "60", rate: str = "0.001") -> None:
    distributed.join(f"localhost:{port}", int(process_id), int(count), HEARTBEAT_S)
    config = fake_config(num_steps=int(steps), log_every=1, checkpoint_every=4)
    config.data.batch_size = 8
    config.optimizer.learning_rate = float(rate)
    with preemption.listen(config.train.grace_s) as stop:
        state = loop.train(config, own_share, workdir, fingerprint="fake", stop=stop)
    print(f"ended at step {int(state.step)}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except errors.UserError as error:
        sys.exit(f"error: {error}")
