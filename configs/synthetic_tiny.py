"""A small QueryPose on synthetic people; learns from scratch in minutes on two CPU cores.

python launch.py --config=configs/synthetic_tiny.py --workdir=runs/synthetic_tiny
"""

from ml_collections import ConfigDict

from configs import querypose
from configs.common import on_synthetic_people, resized_whole


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

    on_synthetic_people(config)
    resized_whole(config)
    config.data.people_ladder = (17, 24)

    config.optimizer.update(
        learning_rate=1e-3,
        rate_factors=(("flow", 1.0), ("backbone", 1.0)),
        warmup_steps=90,
        schedule="cosine",
    )
    config.train.update(num_steps=3000, seed=0, log_every=20, checkpoint_every=500, pictures_per_group=0)
    config.eval.update(every=0, batch_size=8)
    return config
