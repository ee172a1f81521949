"""The paper's ablations (Tables 1, 2 and 3) and one of our own, on QueryPose with a ResNet-50 (configs/coco_r50.py).

    python launch.py --config=configs/ablations.py:query=iq_mhsa --workdir=runs/query_iq_mhsa \
        --config.data.root=/path/to/coco --config.init_from=/path/to/imported/resnet50

The same names on small synthetic pictures: configs/ablations_tiny.py. What stands after the colon:

| variant | paper | what it is here |
|---|---|---|
| `default` | | `configs/coco_r50.py` as it is: AP 68.7 published, after the released rescoring step |
| `query=iq_mhsa` `iq_channel` `iq_spatial` `iq_attention` | Table 1 | all joints from the instance query (IQ) |
| `query=pq_mhsa` `pq_channel` `pq_spatial` `pq_attention` | Table 1 | from part queries (PQ); the last is `default` |
| `iteration=none` `summation` `concatenation` `selective` | Table 2a | how part queries go from stage to stage |
| `modules=baseline` `spegm` `spegm_sim` | Table 2b | neither SPEGM nor SIM, SPEGM alone, both (`default`) |
| `part_dim=32` `64` `128` `256` | Table 2c | channels of a part query; 128 is `default` |
| `parts=17` `13` `7` `5` | Table 2d | joints per part; 7 is `default` |
| `query_iteration=3a` `3b` | Table 3 | Figure 3(a): boxes alone refine the instance query; 3(b): both decoders |
| `feedback=released` `none` `all` | none | which queries the keypoint decoder refines for the next stage |

The paper's numbers of Tables 1 to 3 were not at hand when this was written, and none is quoted; nor are its exact
definitions of the rows. These are ours:

- A query reads its person's feature map by `mhsa` (self-attention of the queries together with the map's cells),
  `channel` (a dynamic MLP over channels, as in Sparse R-CNN), `spatial` (a dynamic MLP over cells) or `attention`
  (SPEGM). See models/querypose/part_reading.py. IQ: one part of 17 joints that starts each stage from the instance
  query, 256 channels wide.
- `iteration`: the new embedding replaces the carried part query (`none`), is added to it, or both go through one
  linear layer (`concatenation`). `selective` is SIM.
- `modules=baseline`: each part reads the mean of the map through a linear layer of its own; the part queries are
  replaced. `modules=spegm` is the same model as `iteration=none`.
- `parts`: 17 = every joint, 13 = the face and 12 joints, 5 = the face, arms with shoulders, legs with hips.
- `query_iteration=3b` trains as released and keeps the refined queries at test time (`model.carry_query_at_test`).

Schedule: that of configs/coco_r50.py, 140k steps of 16. The paper speaks of a 1x schedule for ablations without saying
how long it is; the release's history has 90k steps with milestones at 70k and 85k, to be had with
`--config.train.num_steps=90000 --config.optimizer.milestones="((70000,0.1),(85000,0.01))"`.
"""

from ml_collections import ConfigDict

from configs import coco_r50

IQ = {"data.skeleton": "coco_parts_1", "model.pose_query": "instance"}
VARIANTS: dict[str, dict[str, str | int | bool]] = {
    "default": {},
    **{f"query=iq_{how}": {**IQ, "model.part_reading": how} for how in ("mhsa", "channel", "spatial", "attention")},
    **{f"query=pq_{how}": {"model.part_reading": how} for how in ("mhsa", "channel", "spatial", "attention")},
    **{f"iteration={how}": {"model.iteration": how} for how in ("none", "summation", "concatenation", "selective")},
    "modules=baseline": {"model.part_reading": "mean", "model.iteration": "none"},
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
    if config.model.pose_query == "instance":
        config.model.part_dim = config.model.dim
    return config
