"""A small ED-Pose on synthetic people, from scratch.

python launch.py --config=configs/edpose/synthetic_tiny.py --workdir=runs/edpose_tiny

How many steps it takes has not been measured yet.
"""

from ml_collections import ConfigDict

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

    config.data.update(
        name="synthetic",
        root="",
        batch_size=8,
        max_people=4,
        crop=0.0,
        short_sides=(160,),
        eval_short_side=160,
        longest_side=192,
        canvases=((160, 192),),
        workers=2,
    )
    config.data.synthetic = ConfigDict(
        dict(train_pictures=5000, val_pictures=200, height=160, width=192, max_people=3, seed=0)
    )

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
