"""Matching costs equal the reference, and so do the pairs, in its order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from querypose_jax.models.querypose.matching import match, matching_cost
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

COST_TOLERANCE = {"float32": 1e-4, "float64": 1e-5}


@pytest.mark.parametrize("path", goldens.files("matcher"))
def test_costs_and_pairs_equal_reference(path, dtype):
    golden = Golden(path)
    config = common.get_config().model.loss
    for case in sorted({key.split("_")[0] for key in golden.names() if key.endswith("_logits")}):
        gt_boxes = golden[f"{case}_gt_boxes"].astype(dtype)
        pictures, slots = gt_boxes.shape[:2]
        sizes = golden[f"{case}_sizes"].astype(np.int32)
        batch = Batch(
            image=np.zeros((pictures, 1, 1, 3), np.uint8),
            valid_size=sizes,
            orig_size=sizes,
            image_id=np.arange(pictures, dtype=np.int32),
            inv_affine=np.zeros((pictures, 2, 3), dtype),
            boxes=gt_boxes,
            keypoints=np.zeros((pictures, slots, 1, 3), dtype),
            area=np.zeros((pictures, slots), dtype),
            label=np.zeros((pictures, slots), np.int32),
            is_person=np.arange(slots) < golden[f"{case}_gt_count"][:, None],
        )
        batch = jax.tree.map(jnp.asarray, batch)
        predictions = [jnp.asarray(golden[f"{case}_{key}"].astype(dtype)) for key in ("logits", "boxes")]
        cost = np.asarray(matching_cost(*predictions, batch, config))
        is_column = np.broadcast_to(batch.is_person[:, None], cost.shape)
        assert_close(cost[is_column], golden[f"{case}_cost"][is_column], COST_TOLERANCE[dtype], what=case)

        matches = match(*predictions, batch, config)
        expected = golden[f"{case}_match_query"]
        used = expected >= 0
        assert np.array_equal(np.asarray(matches.query)[used], expected[used])
        assert np.array_equal(np.asarray(matches.person)[used], golden[f"{case}_match_gt"][used])
        assert (np.asarray(matches.query)[~used] == golden[f"{case}_logits"].shape[1]).all()
