"""A whole run of the command line in seconds: the smallest QueryPose on a handful of synthetic people."""

from configs import synthetic_tiny


def get_config():
    config = synthetic_tiny.get_config()
    config.model.update(
        num_proposals=4, stages=1, dim=16, heads=2, ffn_dim=16, dynamic_dim=4, pose_convs=1, part_dim=8,
        box_roi=4, pose_roi=4, flow_couplings=2, flow_dim=8, proposal_grid=(2, 2),
    )  # fmt: skip
    config.model.backbone.width = 16
    config.data.update(batch_size=2, people_ladder=(8,), workers=1)
    config.data.synthetic.update(train_pictures=12, val_pictures=4)
    config.optimizer.warmup_steps = 2
    config.train.update(num_steps=12, log_every=1, checkpoint_every=3)
    config.eval.update(batch_size=2, num_drawn=2)
    return config
