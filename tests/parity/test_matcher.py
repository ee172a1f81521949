"""Matching costs equal the reference, and so do the pairs, in its order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from configs import querypose
from querypose_jax.models.querypose.matching import match, matching_cost
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

COST_TOLERANCE = {"float32": 1e-4, "float64": 1e-5}


@functools.partial(jax.jit, static_argnames="config")
def costs_and_matches(logits, boxes, batch, config):
    return matching_cost(logits, boxes, batch, config), match(logits, boxes, batch, config)


@pytest.mark.parametrize("path", goldens.files("matcher"))
def test_costs_and_pairs_equal_reference(path, dtype):
    golden = Golden(path)
    config = FrozenConfigDict(querypose.get_config().model.loss)
    for case in sorted({key.removesuffix("_logits") for key in golden.names() if key.endswith("_logits")}):
        boxes, sizes = golden[f"{case}_gt_boxes"], golden[f"{case}_sizes"]
        keypoints = np.zeros((*boxes.shape[:2], 1, 3))
        batch = goldens.people_batch(sizes, sizes, golden[f"{case}_gt_count"], boxes, keypoints, dtype)
        predictions = [jnp.asarray(golden[f"{case}_{key}"].astype(dtype)) for key in ("logits", "boxes")]
        cost, matches = costs_and_matches(*predictions, batch, config)
        for picture, people in enumerate(golden[f"{case}_gt_count"]):
            expected = golden[f"{case}_cost"][picture, :, :people]
            assert_close(cost[picture, :, :people], expected, COST_TOLERANCE[dtype], what=f"{case}, picture {picture}")

        goldens.assert_same_indices(matches.query, golden[f"{case}_match_query"], nowhere=cost.shape[1])
        goldens.assert_same_indices(matches.person, golden[f"{case}_match_gt"], nowhere=cost.shape[2])
