"""A small QueryPose that overfits the 12 pictures with the largest people, on two CPU cores.

    python launch.py --config=configs/coco_mini_overfit.py --workdir=runs/overfit --config.data.root=/path/to/coco

What it proves: that the whole path learns from real pictures and real annotations. It trains from scratch, without
augmentation, and is evaluated on the pictures it trained on, so its AP says nothing about new pictures.
"""

from ml_collections import ConfigDict

from configs import synthetic_tiny


def get_config() -> ConfigDict:
    config = synthetic_tiny.get_config()
    del config.data.synthetic

    config.model.update(num_proposals=30, proposal_grid=(5, 6), proposal_size=(0.3, 0.5))
    config.data.update(
        name="coco",
        root="data/coco",
        eval_split="train",
        largest_people=12,
        batch_size=4,
        max_people=16,
        people_ladder=(16, 32, 48),
        flip=0.0,
        short_sides=(256,),
        eval_short_side=256,
        longest_side=384,
        canvases=((256, 384), (384, 256), (384, 384)),
    )
    config.optimizer.update(warmup_steps=100)
    config.train.update(num_steps=4000, checkpoint_every=500)
    config.eval.update(every=500, batch_size=2, num_drawn=12)
    return config
