"""The paper's ablations (Tables 1, 2 and 3) and one of our own, on QueryPose with a ResNet-50 (configs/coco_r50.py).

    python launch.py --config=configs/ablations.py:query=iq_mhsa --workdir=runs/query_iq_mhsa \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

The same names on small synthetic pictures: configs/ablations_tiny.py. What stands after the colon, with the keypoint
AP / APM / APL that the paper publishes for it (COCO val2017, its 1x schedule, presumably after the released rescoring
step: compare `keypoint_released_rescore/AP`, see docs/reproduction.md):

| variant | paper | AP / APM / APL | what it is |
|---|---|---|---|
| `default` | | 64.9 / 60.4 / 72.3 | `configs/coco_r50.py` as it is (68.7 with the schedule of the main results) |
| `query=iq_mhsa` | Table 1 | 60.7 / 56.4 / 68.1 | instance query (IQ) and the map's cells attend to each other |
| `query=pq_mhsa` | Table 1 | 62.6 / 58.2 / 69.9 | the same with part queries (PQ) |
| `query=iq_channel` | Table 1 | 60.4 / 56.3 / 67.4 | dynamic MLP over channels, written by the instance query |
| `query=pq_channel` | Table 1 | 63.0 / 58.7 / 70.4 | by each part query |
| `query=iq_spatial` | Table 1 | 60.5 / 56.5 / 67.5 | dynamic MLP over the cells, written by the instance query |
| `query=pq_spatial` | Table 1 | 62.8 / 58.6 / 70.3 | by each part query |
| `query=iq_attention` | Table 1 | 60.2 / 56.0 / 67.1 | one attention map for the whole person |
| `query=pq_attention` | Table 1 | 63.8 / 59.4 / 71.3 | SPEGM: one attention map for each part; `iteration=none` |
| `iteration=none` | Table 2a | 63.8 / 59.4 / 71.3 | the part embeddings of a stage are its part queries |
| `iteration=summation` | Table 2a | 64.2 / 60.1 / 71.7 | they are added to the part queries of the stage before |
| `iteration=concatenation` | Table 2a | 64.1 / 59.6 / 71.6 | both go through one linear layer |
| `iteration=selective` | Table 2a | 64.9 / 60.4 / 72.3 | SIM; `default` |
| `modules=baseline` | Table 2b | 59.2 / 55.1 / 66.0 | joints straight from the mean of the person's convolved map |
| `modules=spegm` | Table 2b | 63.8 / 59.4 / 71.3 | SPEGM without SIM; `iteration=none` |
| `modules=spegm_sim` | Table 2b | 64.9 / 60.4 / 72.3 | both; `default` |
| `part_dim=32` | Table 2c | 64.1 / 59.8 / 71.3 | channels of a part query |
| `part_dim=64` | Table 2c | 64.4 / 60.0 / 71.8 | |
| `part_dim=128` | Table 2c | 64.9 / 60.4 / 72.3 | `default` |
| `part_dim=256` | Table 2c | 64.7 / 60.5 / 72.1 | |
| `parts=17` | Table 2d (a) | 64.7 / 60.4 / 72.1 | every joint a part |
| `parts=13` | Table 2d (b) | 64.6 / 60.1 / 72.0 | the head's five joints together, the others one each |
| `parts=7` | Table 2d (c) | 64.9 / 60.4 / 72.3 | rigid parts; `default` |
| `parts=5` | Table 2d (d) | 64.5 / 60.5 / 71.7 | head and four limbs |
| `query_iteration=3a` | Table 3 | 64.1, boxes 55.3 | instance query iterated over box decoders only |
| `query_iteration=3b` | Table 3 | 64.9, boxes 56.9 | over box and keypoint decoder in series |
| `feedback=released` `none` `all` | none | | which instance queries the keypoint decoder refines for the next stage |

What the paper's tables leave open, and our choice:

- Table 1 carries nothing from stage to stage by way of part queries: a reading starts from the learnt part queries, or
  from the instance query of the stage (256 channels), to which what it has read is added; all 17 joints come from the
  sum, without attention between parts. Sizes: models/querypose/part_reading.py.
- `modules=baseline`: coordinates and spreads come from one layer on the 256 means, by the coordinate head of the rest.
- The dynamic MLP of the released full version, which refines the instance query, is in every variant, the baseline too:
  it decides about boxes as well. `--config.model.light=True` leaves it out.
- `parts`: the limbs of 5 are arms with shoulders and legs with hips.
- `query_iteration=3a` is `feedback=none`. `3b` is trained as `default` (matched queries go on refined) and keeps the
  refined queries at test time (`model.carry_query_at_test`), which the released code does not: docs/reproduction.md.

Schedule: that of configs/coco_r50.py, 140k steps of 16. The paper speaks of a 1x schedule for ablations without saying
how long it is; the release's history has 90k steps with milestones at 70k and 85k, to be had with
`--config.train.num_steps=90000 --config.optimizer.milestones="((70000,0.1),(85000,0.01))"`.
"""

from ml_collections import ConfigDict

from configs import coco_r50

# One part of all joints, and no part queries that could be carried on.
ONE_PART = {"data.skeleton": "coco_parts_1", "model.iteration": "none"}
IQ = {**ONE_PART, "model.pose_query": "instance"}
PQ = {"model.iteration": "none"}
VARIANTS: dict[str, dict[str, str | int | bool]] = {
    "default": {},
    **{f"query=iq_{how}": {**IQ, "model.part_reading": how} for how in ("mhsa", "channel", "spatial", "attention")},
    **{f"query=pq_{how}": {**PQ, "model.part_reading": how} for how in ("mhsa", "channel", "spatial", "attention")},
    **{f"iteration={how}": {"model.iteration": how} for how in ("none", "summation", "concatenation", "selective")},
    "modules=baseline": {**ONE_PART, "model.pose_query": "pooled"},
    "modules=spegm": {"model.iteration": "none"},
    "modules=spegm_sim": {},
    **{f"part_dim={width}": {"model.part_dim": width} for width in (32, 64, 128, 256)},
    **{f"parts={count}": {"data.skeleton": f"coco_parts_{count}"} for count in (17, 13, 5)},
    "parts=7": {},
    "query_iteration=3a": {"model.query_feedback": "none"},
    "query_iteration=3b": {"model.carry_query_at_test": True},
    **{f"feedback={which}": {"model.query_feedback": which} for which in ("released", "none", "all")},
}


def get_config(variant: str = "default") -> ConfigDict:
    return varied(coco_r50.get_config(), variant)


def varied(config: ConfigDict, variant: str) -> ConfigDict:
    """The configuration changed as a name of VARIANTS says; ValueError for another name."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; known: {', '.join(VARIANTS)}")
    config.update_from_flattened_dict(VARIANTS[variant])
    if config.model.pose_query != "part":
        config.model.part_dim = config.model.dim
    return config
