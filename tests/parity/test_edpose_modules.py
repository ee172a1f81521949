"""Parts of ED-Pose equal the reference: masks, a decoder layer, expansion, heads, denoising queries."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.deformable.attention import attend
from querypose_jax.models.deformable.encoder import encoder_references
from querypose_jax.models.deformable.encodings import encode_references
from querypose_jax.models.deformable.proposals import make_proposals
from querypose_jax.models.deformable.targets import make_targets
from querypose_jax.models.deformable.tokens import make_tokens
from querypose_jax.models.edpose.attention import attend_instances, attend_people
from querypose_jax.models.edpose.decoder import on_maps, query_positions
from querypose_jax.models.edpose.denoising import denoising_queries, own_blocks
from tests.parity import edpose_goldens, goldens
from tests.parity.deformable_goldens import compiled_once
from tests.parity.goldens import Golden, assert_close

TOLERANCE = {"float32": 1e-4, "float64": 2e-6}  # relative
EVERY_TOKEN = 4  # of the encoding is stored


@pytest.fixture(scope="module", params=goldens.files("ed_modules"))
def golden(request):
    return Golden(request.param)


def decoder(golden, dtype):
    """The decoder; what is before it is not part of the golden."""
    return edpose_goldens.edpose(golden, dtype, backbone="maps", map_channels=[32] * 3, enc_layers=1)


def pictures(golden, embeddings):
    """Tokens of the golden's padded pictures with nothing on them."""
    canvas, shapes = tuple(golden["padded_size"].tolist()), golden["level_shapes"].tolist()
    sizes = jnp.asarray(golden["image_sizes"], jnp.int32)
    blank = [jnp.zeros((len(sizes), *shape, embeddings.shape[1]), embeddings.dtype) for shape in shapes]
    return make_tokens(blank, sizes, canvas, embeddings)


def compare(golden, dtype, record_property, **found):
    for key, actual in found.items():
        record_property(key, assert_close(actual, golden[key], relative=TOLERANCE[dtype], what=key))


def given(golden, key, dtype):
    return jnp.asarray(golden[key].astype(dtype))


@goldens.float32_is_slow
def test_parts_equal_reference(golden, dtype, record_property):
    """Encodings and masks of the pictures; a layer with a mask and without; expansion; heads and references."""
    graphdef, state = nnx.split(decoder(golden, dtype))
    layer, denoising = golden.meta["config"]["box_layers"], golden.meta["config"]["dn_number"]
    keys = ("layer_boxes", "layer_in", "layer_memory", "head_in", "head_references")
    masked = partial(attend, is_seen=jnp.asarray(~golden["layer_mask"]))

    @compiled_once
    def run(state, boxes, x, memory, head_in, references):
        model = nnx.merge(graphdef, state)
        tokens = pictures(golden, model.level_embeddings[...])
        places = on_maps(boxes, tokens)
        position = query_positions(model.position_head, places, x.shape[-1])
        content, expanded = model.expand_people(x, boxes, jnp.asarray(golden["expand_keep"]), 0)
        logits, moved, points = model.read(layer, head_in, references, denoising)
        found = {
            "token_pos": tokens.position[:, ::EVERY_TOKEN],
            "valid_ratios": tokens.valid_ratios,
            "encoder_reference": encoder_references(tokens),
            "sine": encode_references(places[:, :, 0], x.shape[-1] // 2),
            "query_pos": position,
            "layer_out": model.layers[0](x, position, places, masked, memory, tokens),
            "layer_out_unmasked": model.layers[0](x, position, places, attend, memory, tokens),
            "expand_content": content,
            "expand_boxes": expanded,
            "head_logits": logits[:, denoising:],
            "head_boxes": moved[:, denoising:],
            "head_points": points,
            "head_dn_logits": logits[:, :denoising],
            "head_dn_boxes": moved[:, :denoising],
            "head_next": model.move(layer, head_in, references, denoising),
        }
        return found, tokens.is_valid, make_proposals(tokens)

    found, is_valid, proposals = run(state, *(jnp.asarray(golden[key].astype(dtype)) for key in keys))
    assert np.array_equal(~is_valid, golden["token_mask"])
    assert np.array_equal(proposals.is_kept, golden["proposals_kept"])
    assert_close(proposals.logits, golden["proposals"], TOLERANCE[dtype], what="proposals")
    compare(golden, dtype, record_property, **found)


def people(golden, dtype):
    """Targets of the golden's people; its pictures are squares of 1 pixel here, so nothing is scaled."""
    sizes = np.ones((len(golden["gt_count"]), 2), np.int32)
    batch = edpose_goldens.batch(edpose_goldens.with_arrays(golden, image_sizes=sizes), dtype)
    return make_targets(batch, jnp.dtype(dtype))


@goldens.float32_is_slow
def test_denoising_queries_equal_reference(golden, dtype, record_property):
    theirs = golden.meta["config"]
    shape = (theirs["dn_label_book"] + 1, theirs["width"])
    labels = goldens.weights().make("label_enc.weight", shape, golden.meta["weights_tag"]).astype(dtype)
    config = edpose_goldens.whole_config(theirs, dtype).model.denoising
    noise = edpose_goldens.noise(golden)
    run = compiled_once(partial(denoising_queries, columns=theirs["num_classes"], config=config))
    queries = run(noise, people(golden, dtype), jnp.asarray(labels))
    assert np.array_equal(queries.column, golden["dn_labels"])
    compare(golden, dtype, record_property, dn_content=queries.content, dn_boxes=queries.target)
    expected = 1 / (1 + np.exp(-golden["dn_logits"].astype(np.float64)))
    assert_close(queries.boxes, expected, relative=TOLERANCE[dtype], what="noisy boxes")


@goldens.float32_is_slow
def test_who_sees_whom_without_masked_scores_equals_the_masks_gradients_too(golden, dtype):
    """Both kinds of attention equal softmax under the reference's masks, in pictures with 3, 0 and 7 people, with
    denoising queries and without, and so do the gradients by q, k and v."""
    members, rows = golden.meta["joints"] + 1, golden.meta["config"]["dn_number"]
    own_block = own_blocks(people(golden, dtype), rows)
    instances = np.broadcast_to(golden["mask_instances"], (len(own_block), *golden["mask_instances"].shape))
    for mask, ours in (
        (golden["mask_first"], partial(attend_people, own_block=own_block)),
        (golden["mask_later"], partial(attend_instances, own_block=own_block, members=members)),
        (instances, partial(attend_instances, own_block=None, members=members)),
    ):
        masked = partial(attend, is_seen=jnp.asarray(~mask))
        numbers = np.random.default_rng(0).normal(size=(4, *mask.shape[:2], 2, 4)).astype(dtype)
        expected, found = (compiled_once(with_gradients(function))(*numbers) for function in (masked, ours))
        for actual, wanted in zip(found, expected, strict=True):
            assert_close(actual, wanted, {"float32": 1e-5, "float64": 1e-12}[dtype])


def with_gradients(function):
    """q, k, v and a cotangent -> what is attended to, and its gradients by q, k and v."""

    def run(q, k, v, cotangent):
        attended, back = jax.vjp(function, q, k, v)
        return attended, *back(cotangent)

    return run
