"""Masks, encodings, encoder and two-stage selection of a small network equal the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.layers.layouts import prefixed, vector
from querypose_jax.models.deformable import names as named
from querypose_jax.models.deformable.encoder import Encoder, encoder_references
from querypose_jax.models.deformable.encodings import encode_references, logit
from querypose_jax.models.deformable.proposals import REJECTED, TokenScores, best, make_proposals
from querypose_jax.models.deformable.tokens import InputProjection, level_embeddings, make_tokens
from tests.parity import goldens
from tests.parity.deformable_goldens import filled, maps
from tests.parity.goldens import Golden, assert_close

TOLERANCE = {"float32": 1e-4, "float64": 2e-6}  # relative; of proposals absolute


class Parts(nnx.Module):
    """What comes before the decoder."""

    def __init__(self, config: dict, dtype: jnp.dtype):
        rngs, width, levels = nnx.Rngs(0), config["width"], config["levels"]
        sizes = width, config["heads"], levels, config["enc_points"], config["ffn"]
        self.projection = InputProjection(config["channels"], width, levels, dtype, rngs)
        self.levels = level_embeddings(levels, width, dtype, rngs)
        self.encoder = Encoder(config["enc_layers"], *sizes, remat=False, dtype=dtype, rngs=rngs)
        self.scores = TokenScores(width, config["num_classes"], dtype, rngs)


def part_names(config: dict) -> dict:
    return (
        prefixed(("projection",), named.projection_names("input_proj", config["levels"]))
        | {("levels",): vector("transformer.level_embed")}
        | prefixed(("encoder",), named.encoder_names("transformer.encoder", config["enc_layers"]))
        | prefixed(("scores",), named.token_scores_names("transformer"))
    )


@pytest.fixture(params=goldens.files("deformable_modules"))
def golden(request):
    return Golden(request.param)


@goldens.float32_is_slow
def test_encoder_and_selection_equal_reference(golden, dtype, record_property):
    config = golden.meta["config"]
    parts = filled(lambda: Parts(config, jnp.dtype(dtype)), part_names(config), golden, dtype)
    graphdef, state = nnx.split(parts)
    canvas = tuple(golden["padded_size"].tolist())

    @jax.jit
    def run(state, maps, sizes):
        parts = nnx.merge(graphdef, state)
        tokens = make_tokens(parts.projection(maps), sizes, canvas, parts.levels[...])
        references = encoder_references(tokens)
        first = parts.encoder.layers[0](tokens.features, tokens, references)
        memory = parts.encoder(tokens)
        proposals = make_proposals(tokens)
        _, scores = parts.scores(memory, proposals.is_kept)
        return tokens, references, first, memory, proposals, scores, best(scores, config["queries"])

    sizes = jnp.asarray(golden["image_sizes"], jnp.int32)
    tokens, references, first, memory, proposals, scores, index = run(
        state, maps(golden, config["channels"], dtype), sizes
    )
    assert tokens.shapes == tuple((height, width) for height, width in golden["level_shapes"].tolist())
    assert np.array_equal(~tokens.is_valid, golden["token_mask"])
    assert np.array_equal(proposals.is_kept, golden["proposals_kept"])
    relative = {
        "valid_ratios": tokens.valid_ratios,
        "token_pos": tokens.position,
        "encoder_reference": references,
        "projected": tokens.features,
        "layer_out": first,
        "memory": memory,
        "selection_scores": scores,
    }
    for key, actual in relative.items():
        record_property(key, assert_close(actual, golden[key], relative=TOLERANCE[dtype], what=key))
    check_proposals(proposals, golden["proposals"], dtype)
    assert np.array_equal(index, golden["token_index"])


def check_proposals(proposals, expected, dtype):
    """Rejected ones are the same number on both sides."""
    assert REJECTED == 1e4
    assert_close(proposals.logits, expected, TOLERANCE[dtype], what="proposals")


def test_proposals_of_long_maps_equal_reference(golden, dtype):
    """Centres near the borders of long maps are rejected, also where they lie exactly on the limit."""
    height, width = golden["wide_padded_size"].tolist()
    sizes = jnp.asarray(golden["wide_image_sizes"], jnp.int32)
    blank = [jnp.zeros((len(sizes), -(-height // 2**s), -(-width // 2**s), 4), dtype) for s in (3, 4, 5, 6)]
    levels = jnp.zeros((4, 4), dtype)
    propose = jax.jit(lambda blank, sizes: make_proposals(make_tokens(blank, sizes, (height, width), levels)))
    proposals = propose(blank, sizes)
    assert np.array_equal(proposals.is_kept, golden["wide_kept"])
    check_proposals(proposals, golden["wide_proposals"], dtype)


def test_encodings_of_references_equal_reference(golden, dtype):
    for key in ("sine_points", "sine_boxes"):
        references = jnp.asarray(golden[f"{key}_in"].astype(dtype))
        actual = encode_references(references, golden[key].shape[-1] // references.shape[-1])
        assert_close(actual, golden[key], relative=TOLERANCE[dtype], what=key)
    assert_close(
        logit(jnp.asarray(golden["logit_eps_in"].astype(dtype))), golden["logit_eps"], relative=TOLERANCE[dtype]
    )
