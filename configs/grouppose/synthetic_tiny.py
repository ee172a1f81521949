"""A small Group Pose on synthetic people, from scratch.

python launch.py --config=configs/grouppose/synthetic_tiny.py --workdir=runs/grouppose_tiny

Keypoint AP on the 200 held-out pictures: .20 after 500 steps, .34 after 1,000, .63 after 2,000, .77 after 2,500,
which took 16 minutes of processor time (seed 0; later steps were not measured).

Where it leaves the released settings: two points instead of four (rings of two cells are as wide as a drawn person's
limb), no level beyond the backbone's, and losses of all layers on clean queries (`faithful_aux`).
"""

from ml_collections import ConfigDict

from configs.common import on_synthetic_people, resized_whole
from configs.grouppose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()

    config.model.update(
        num_queries=20,
        num_select=20,
        dim=64,
        heads=4,
        levels=3,
        encoder_layers=1,
        encoder_points=2,
        decoder_layers=3,
        decoder_points=2,
        ffn_dim=256,
        faithful_aux=False,
    )
    config.model.backbone.update(name="small")

    on_synthetic_people(config)
    resized_whole(config)
    config.data.batch_size = 4

    config.optimizer.update(
        learning_rate=7e-4,
        rate_factors=(("backbone", 1.0),),
        clip_norm=1.0,
        warmup_steps=100,
        schedule="cosine",
    )
    config.train.update(num_steps=5000, seed=0, log_every=20, checkpoint_every=500)
    config.eval.update(every=0, batch_size=8)
    return config
