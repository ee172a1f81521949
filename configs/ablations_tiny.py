"""The ablations of configs/ablations.py on small synthetic pictures, where a run takes minutes on one CPU core.

    python launch.py --config=configs/ablations_tiny.py:iteration=none --workdir=runs/iteration_none

Same names of variants. `default` is the light version of a QueryPose of two stages, where the keypoint decoder refines
no instance query; `feedback=` and `query_iteration=` are about the dynamic MLP that does and take the full version.
scripts/rank_ablations.py runs them over several seeds. What it ranks are variants of a small model on drawn people
after a short training, one person on a picture: a hint, not the paper's experiment.
"""

from ml_collections import ConfigDict

from configs import synthetic_tiny
from configs.ablations import varied


def get_config(variant: str = "default") -> ConfigDict:
    config = synthetic_tiny.get_config()
    config.model.update(
        num_proposals=4,
        stages=2,
        box_roi=5,
        pose_roi=7,
        pose_convs=1,
        light=not variant.startswith(("feedback", "query_iteration")),
        proposal_grid=(2, 2),
    )
    config.data.update(
        max_people=1,
        people_ladder=(8,),
        short_sides=(96,),
        eval_short_side=96,
        longest_side=128,
        canvases=((96, 128),),
        workers=1,
    )
    config.data.synthetic.update(train_pictures=4000, val_pictures=200, height=96, width=128, max_people=1)
    config.optimizer.update(learning_rate=2e-3, warmup_steps=50)
    config.train.update(num_steps=600, log_every=20, checkpoint_every=600, keep_last=1)
    config.eval.update(batch_size=10, num_drawn=0)
    config.matching.solver = "device"  # programs without a host callback are compiled once for all seeds
    return varied(config, variant)
