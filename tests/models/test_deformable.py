"""Parts that the deformable models share, on numbers worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kernels.assignment import Matches
from querypose_jax.layers.attention import SelfAttention
from querypose_jax.models.deformable.attention import DeformableAttention, QueryAttention
from querypose_jax.models.deformable.costs import box_cost, class_cost, giou_cost
from querypose_jax.models.deformable.encodings import logit
from querypose_jax.models.deformable.heads import class_head, moving_head
from querypose_jax.models.deformable.losses import box_sums, class_sums, keypoint_sums, matched_columns, oks, oks_sums
from querypose_jax.models.deformable.proposals import make_proposals
from querypose_jax.models.deformable.samples import on_picture
from querypose_jax.models.deformable.targets import SMALLEST_AREA, Targets
from querypose_jax.models.deformable.tokens import make_tokens, valid_cells
from tests.models.grouppose.small_model import people_batch

FLOAT32 = jnp.dtype("float32")


def targets(**fields) -> Targets:
    """One picture with one person of two joints in the middle, and one padding slot as batches have it."""
    person = dict(
        boxes=jnp.array([[[0.5, 0.5, 0.2, 0.4], [0.0] * 4]]),
        xy=jnp.array([[[[0.5, 0.5], [0.25, 0.5]], [[0.0] * 2] * 2]]),
        is_labelled=jnp.array([[[True, True], [False, False]]]),
        area=jnp.array([[0.05, SMALLEST_AREA]]),
        column=jnp.array([[1, 1]]),
        is_person=jnp.array([[True, False]]),
    )
    return Targets(**(person | fields))


MATCHES = Matches(jnp.array([[[1, 3]]]), jnp.array([[[0, 2]]]))  # query 1 of 3 is matched to person 0 of 2


def test_logit_is_limited_where_a_coordinate_meets_the_border():
    assert np.allclose(logit(jnp.array([-1.0, 0.0, 0.5, 1.0])), [-math.log(1000), -math.log(1000), 0, math.log(1000)])


def test_a_map_counts_the_cells_whose_first_pixel_is_valid():
    """A canvas of 96 x 80, a map of 12 x 10 (stride 8), a picture of 71 x 80: rows 0, 8 .. 64 are valid, 9 of 12."""
    assert valid_cells(jnp.array([[71, 80], [96, 1]]), (96, 80), (12, 10)).tolist() == [[10, 9], [1, 12]]


def test_a_map_of_odd_size_reads_the_pixels_that_nearest_neighbour_resizing_reads():
    """3 cells on 100 pixels read 0, 33 and 66."""
    assert valid_cells(jnp.array([[66, 67]]), (100, 100), (3, 3)).tolist() == [[3, 2]]


def test_samples_are_shown_in_original_pixels():
    """Half of a canvas of 64 columns is padding: a quarter of its width is the middle of the picture of 32 x 32, pixel
    (16, 16), in a file of twice the size (32, 32), and continuous (32.5, 32.5). Two heads share a query's weight."""
    blank, levels = jnp.zeros((1, 4, 8, 8)), jnp.zeros((1, 8))
    batch = people_batch(people=(1,), size=(32, 32), scale=2.0)
    locations = np.broadcast_to(np.float32([0.25, 0.5]), (1, 1, 2, 1, 1, 2))

    @jax.jit
    def run(locations, weights, batch):
        tokens = make_tokens([blank], batch.valid_size, (32, 64), levels)
        return on_picture(locations, weights, tokens, batch)

    samples = run(locations, np.ones((1, 1, 2, 1, 1), np.float32), batch)
    assert np.allclose(samples, [[[[32.5, 32.5, 0.5]] * 2]])


def test_tokens_of_padding_are_not_proposed():
    blank, levels = jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 8))
    tokens = jax.jit(lambda size: make_tokens([blank], size, (32, 32), levels))(jnp.array([[16, 32]]))
    assert tokens.is_valid.tolist() == [[True] * 8 + [False] * 8]
    proposals = jax.jit(make_proposals)(tokens)
    assert np.array_equal(proposals.is_kept, tokens.is_valid)
    first = jax.nn.sigmoid(proposals.logits[0, 0])
    assert np.allclose(first, [0.125, 0.25, 0.05, 0.05])


def test_attention_among_queries_equals_self_attention_where_both_are_the_same():
    plain, ours = SelfAttention(8, 2, FLOAT32, nnx.Rngs(0)), QueryAttention(8, 2, FLOAT32, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 3, 5, 8))
    alone, twice, expected = jax.jit(lambda x: (ours(x), ours(x, x), plain(x)))(x)
    assert np.allclose(alone, expected, atol=1e-6)
    assert np.allclose(twice, expected, atol=1e-6)


def test_a_blocked_query_is_not_seen():
    """Query 0 sees itself alone: its result is that of a sequence of one, whoever the others are."""
    attention = QueryAttention(8, 2, FLOAT32, nnx.Rngs(0))
    x, v = jax.random.normal(jax.random.key(1), (2, 1, 4, 8))
    is_seen = jnp.ones((4, 4), bool).at[0, 1:].set(False)
    calls = jax.jit(lambda x, v: (attention(x, v, is_seen), attention(x[:, :1], v[:, :1]), attention(x, v)))
    out, alone, everybody = calls(x, v)
    assert np.allclose(out[:, 0], alone[:, 0], atol=1e-6)
    assert np.allclose(out[:, 1:], everybody[:, 1:], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_locations_and_attention_weights_are_at_least_float32(dtype):
    layer = DeformableAttention(16, 2, 1, 2, jnp.dtype(dtype), nnx.Rngs(0))
    queries, references = jnp.zeros((1, 3, 16), dtype), jnp.full((1, 3, 1, 2), 1 / 3)
    memory = jnp.zeros((1, 1200, 16), dtype)
    call = jax.jit(lambda *x: (layer.samples(*x, [(4, 300)]), layer(*x, memory, [(4, 300)])))
    (locations, weights), out = call(queries, references)
    assert locations.dtype == weights.dtype == jnp.float32
    steps = np.diff(locations[0, 0, 0, 0, :, 0]) * 300
    assert np.allclose(steps, 1, atol=1e-4), "points of a head are a cell apart, also where a map is 300 cells wide"
    assert out.dtype == dtype


def test_heads_start_at_the_prior_and_without_moving_anything():
    x = jax.random.normal(jax.random.key(0), (5, 8))
    assert np.allclose(class_head(8, 2, FLOAT32, nnx.Rngs(0)).bias[...], -math.log(99))
    assert not moving_head([8, 8, 2], FLOAT32, nnx.Rngs(0))(x).any()


def test_oks_by_hand():
    """Joints off by (0.1, 0) with sigma 0.1 and area 0.05: exp(-0.01 / (2 * 0.05 * 0.04)) = exp(-2.5)."""
    people = targets()
    value = oks(
        people.xy[:, 0] + jnp.array([0.1, 0]), people.xy[:, 0], people.is_labelled[:, 0], people.area[:, 0], (0.1, 0.1)
    )
    assert np.allclose(value, math.exp(-2.5) * 2 / (2 + 1e-6))
    unlabelled = jnp.array([[True, False]])
    half = oks(people.xy[:, 0] + jnp.array([0.1, 0]), people.xy[:, 0], unlabelled, people.area[:, 0], (0.1, 0.1))
    assert np.allclose(half, math.exp(-2.5) / (1 + 1e-6)), "a joint without a label counts neither above nor below"


def test_sums_read_matched_people_only_and_padding_gives_no_nan():
    """Query 1 is the person moved by (0.1, 0.2): joint L1 0.6, box L1 0.3; gradients of padding are zero."""
    people = targets()
    points = jnp.broadcast_to(people.xy[0, 0] + jnp.array([0.1, 0.2]), (1, 1, 3, 2, 2))
    boxes = jnp.broadcast_to(people.boxes[0, 0] + jnp.array([0.1, 0.2, 0, 0]), (1, 1, 3, 4))
    sums = jax.jit(lambda: (keypoint_sums(points, MATCHES, people), *box_sums(boxes, MATCHES, people)))
    joints, l1, giou = sums()
    assert np.allclose(joints, 0.6)
    assert np.allclose(l1, 0.3)
    # 0.2 x 0.4 boxes overlap on 0.1 x 0.2: 0.02 of a union of 0.14; their hull is 0.3 x 0.6.
    assert np.allclose(giou, 1 - (0.02 / 0.14 - 0.04 / 0.18), atol=1e-4)

    def total(points, boxes):
        terms = keypoint_sums(points, MATCHES, people), oks_sums(points, MATCHES, people, (0.1, 0.1))
        return sum(term.sum() for term in (*terms, *box_sums(boxes, MATCHES, people)))

    for gradient in jax.jit(jax.grad(total, (0, 1)))(points, boxes):
        assert np.isfinite(gradient).all()
        assert np.array_equal(gradient.reshape(3, -1).any(-1), [False, True, False])


def test_focal_loss_is_positive_for_the_column_of_the_matched_person():
    """Logits of zero: alpha 0.25 log(2) / 4 for the one positive, 0.75 log(2) / 4 for each of the five others."""
    column = matched_columns(MATCHES, targets().column, 3)
    assert column.tolist() == [[[-1, 1, -1]]]
    loss = class_sums(jnp.zeros((1, 1, 3, 2)), column, 0.25, 2.0)
    assert np.allclose(loss, (0.25 + 5 * 0.75) * math.log(2) / 4)


def test_costs_take_the_person_s_column_and_have_a_place_for_every_pair():
    logits = jnp.array([[[0.0, 3.0], [0.0, -3.0]]])
    cost_of = jax.jit(lambda logits: class_cost(logits, targets(), 0.25, 2.0))
    cost = cost_of(logits)
    assert cost.shape == (1, 2, 2)
    assert cost[0, 0, 0] < cost[0, 1, 0], "a query that is sure of the class costs less"
    stacked = cost_of(jnp.stack([logits, -logits]))
    assert np.allclose(stacked[0], cost)
    assert np.allclose(stacked[1, 0, 0], cost[0, 1])
    boxes = jnp.array([[[0.5, 0.5, 0.2, 0.4], [0.6, 0.5, 0.2, 0.4]]])
    assert np.allclose(box_cost(boxes, targets())[0, :, 0], [0, 0.1])
    assert np.allclose(giou_cost(boxes, targets())[0, :, 0], [-1, -0.04 / 0.12], atol=1e-4)
