"""A small ED-Pose on synthetic people, from scratch.

python launch.py --config=configs/edpose/synthetic_tiny.py --workdir=runs/edpose_tiny

Seed 0: keypoint AP .229, .622, .821, .902, .922 on the 200 held-out pictures after 500, 1,000, 1,500, 2,000 and 2,500
steps, box AP .862 at the end; 0.59 s of processor time a step, about 30 minutes in all. QueryPose's tiny model has .745
after 2,500 steps (docs/benchmarks.md).
"""

from ml_collections import ConfigDict

from configs.common import on_synthetic_people, resized_whole
from configs.edpose import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()

    config.model.update(
        num_queries=30,
        num_instances=10,
        num_select=10,
        dim=64,
        heads=4,
        encoder_layers=2,
        decoder_layers=4,
        ffn_dim=256,
    )
    config.model.backbone.update(name="small")
    config.model.denoising.queries = 10
    config.model.loss.pictures_per_group = 8  # all of a batch

    on_synthetic_people(config)
    resized_whole(config)

    config.optimizer.update(
        learning_rate=1e-3,
        rate_factors=(("backbone", 1.0),),
        clip_norm=1.0,
        warmup_steps=100,
        schedule="cosine",
    )
    config.train.update(num_steps=2500, seed=0, log_every=20, checkpoint_every=500, ema_decay=0.0)
    config.eval.update(every=0, batch_size=8)
    return config
