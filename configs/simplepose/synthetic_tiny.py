"""A small SimplePose on synthetic people; learns from scratch in minutes on two CPU cores.

python launch.py --config=configs/simplepose/synthetic_tiny.py --workdir=runs/simplepose_tiny

Keypoint AP on the 200 held-out pictures: .880 at step 400, .932 at 800, .949 at 1,600, where the measured run ended;
0.42 seconds of processor time a step (docs/benchmarks.md).
"""

from ml_collections import ConfigDict

from configs.common import on_synthetic_people
from configs.simplepose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()

    config.model.backbone.update(
        depth=3, dims=(48, 48, 64, 96), mods=(1, 1, 1, 1), stem_dim=24, feature_dim=48, stacks=1
    )
    # Pictures are a quarter of the released size, and so are people: Gaussians cover a third of the cells, and the
    # offsets, a mean, must not outweigh the heatmaps, a sum.
    config.model.targets.update(sigma=4.0, offset_window=2.0)
    config.model.loss.offset_weight = 2000.0
    config.model.decode.update(people=32, max_distance=20.0)

    on_synthetic_people(config)
    config.data.update(
        rotate=15.0,  # the people of the validation pictures stand upright
        scales=(0.8, 1.25),
        shift=20,
        joint_shift=0.0,  # joints are where they are drawn
        smallest_area=0.0,
        eval_resize="height",
        eval_length=160,
        eval_multiple=32,
    )

    config.optimizer.update(learning_rate=1e-3, warmup_steps=90, schedule="cosine")
    config.train.update(num_steps=2400, log_every=20, checkpoint_every=500)
    config.eval.update(every=0, batch_size=8)
    return config
