"""A small QueryPose on synthetic people; learns from scratch in minutes on two CPU cores.

python launch.py --config=configs/synthetic_tiny.py --workdir=runs/synthetic_tiny
"""

from ml_collections import ConfigDict

from configs import querypose


def get_config() -> ConfigDict:
    config = querypose.get_config()

    config.model.update(
        num_proposals=20,
        stages=2,
        dim=64,
        heads=4,
        ffn_dim=128,
        box_layers=1,
        dynamic_dim=16,
        pose_convs=2,
        part_dim=64,
        light=True,
        proposals="grid",
        proposal_grid=(4, 5),
        proposal_size=(0.4, 0.55),
    )
    config.model.backbone.update(name="small", width=64)

    config.data.update(
        name="synthetic",
        root="",
        batch_size=8,
        max_people=4,
        people_ladder=(17, 24),
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
        rate_factors=(("flow", 1.0), ("backbone", 1.0)),
        warmup_steps=90,
        schedule="cosine",
    )
    config.train.update(num_steps=3000, seed=0, log_every=20, checkpoint_every=500, pictures_per_group=0)
    config.eval.update(every=0, batch_size=8)
    return config
