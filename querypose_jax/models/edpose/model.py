"""ED-Pose (Yang et al., ICLR 2023): a deformable DETR that detects people as boxes, then each joint as a small box."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from querypose_jax.layers.initialisers import Keys, normal, xavier_uniform
from querypose_jax.layers.linear import at_least_float32, layer_norm
from querypose_jax.layers.remat import run_block
from querypose_jax.models.deformable.decode import decode
from querypose_jax.models.deformable.heads import MLP, class_head, moving_head, position_head
from querypose_jax.models.deformable.model import DeformableModel
from querypose_jax.models.deformable.proposals import Selected, best, take
from querypose_jax.models.deformable.targets import Targets, make_targets
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.edpose.attention import attend_instances, attend_people
from querypose_jax.models.edpose.criterion import edpose_loss
from querypose_jax.models.edpose.decoder import (
    Attend,
    DecoderLayer,
    apart,
    expand,
    in_a_row,
    move_boxes,
    move_halves,
    on_maps,
    query_positions,
)
from querypose_jax.models.edpose.denoising import DenoisingQueries, Noise, denoising_queries, draw_noise
from querypose_jax.models.edpose.outputs import Denoised, Instances, Outputs, People
from querypose_jax.structures import Batch, Poses

NOISE = 1  # folded into a step's key for what is drawn here; the backbone draws with the key itself
JOINTS_WITH_OWN_HEAD = 17  # released: COCO's models expand by a head of its own, others by the first pose layer's


def pose_heads(pose_layers: int, joints: int) -> int:
    """How many heads move joints: one for each layer and, for 17 joints, one more, which expands."""
    return pose_layers + (joints == JOINTS_WITH_OWN_HEAD)


class EDPose(DeformableModel):
    """The whole model; see `Outputs` for what a call returns."""

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        """`config` is the whole configuration: the groups model, data (skeleton) and matching (solver) are read."""
        keys = Keys(rngs.params())
        super().__init__(config, keys)
        model, dtype, wide = config.model, self.dtype, at_least_float32(self.dtype)
        width, joints, self.columns = model.dim, self.skeleton.num_keypoints, model.num_classes + 1
        sizes = (width, model.heads, model.levels, model.decoder_points, model.ffn_dim)
        box, point = (width, width, width, 4), (width, width, width, 2)
        layers = range(model.decoder_layers)

        self.token_box = moving_head(box, dtype, keys)
        self.layers = nnx.List([DecoderLayer(*sizes, dtype, keys) for _ in layers])
        self.norm = layer_norm(width, dtype, keys)
        self.position_head = position_head((2 * width, width, width), dtype, keys)
        self.joint_embeddings = nnx.Param(xavier_uniform(keys.params(), (joints, width), wide))
        self.joint_sides = nnx.Param(xavier_uniform(keys.params(), (joints, 2), wide))
        self.class_heads = nnx.List([class_head(width, self.columns, dtype, keys) for _ in layers])
        self.box_heads = nnx.List([moving_head(box, dtype, keys) for _ in layers])
        heads = pose_heads(model.decoder_layers - model.box_layers, joints)
        self.point_heads = nnx.List([moving_head(point, dtype, keys) for _ in range(heads)])
        self.side_head = MLP(point, wide, keys)  # of joints' boxes; like `joint_sides` it never gets a gradient
        self.label_embeddings = nnx.Param(normal()(keys.params(), (model.denoising.labels + 1, width), wide))

    @property
    def members(self) -> int:
        """J: queries of an instance."""
        return self.skeleton.num_keypoints + 1

    @property
    def expansion_head(self) -> MLP:
        """Moves joints from their person's centre."""
        has_own = self.skeleton.num_keypoints == JOINTS_WITH_OWN_HEAD
        return self.point_heads[-1 if has_own else 0]

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Outputs:
        """Pictures to predictions; in training the people of the batch are read for denoising queries.

        `key` is for what is drawn in a training step (noise, drop path of a swin); without one nothing is drawn, and
        there are no denoising queries.
        """
        tokens, memory = self.encode(self.maps(batch, train, key), batch)
        if not train or key is None:
            return self.decode_queries(tokens, memory)
        return self.decode_queries(tokens, memory, self.noisy_people(batch, self.draw(batch, key)))

    def draw(self, batch: Batch, key: Key[Array, ""]) -> Noise:
        """The noise of a training step."""
        people = jnp.asarray(batch.is_person).sum(-1)
        return draw_noise(jax.random.fold_in(key, NOISE), people, self.config.denoising)

    def noisy_people(self, batch: Batch, noise: Noise) -> DenoisingQueries:
        """Denoising queries from given draws."""
        targets: Targets = make_targets(batch, at_least_float32(self.dtype))
        return denoising_queries(noise, targets, self.label_embeddings[...], self.columns, self.config.denoising)

    def decode_queries(
        self, tokens: Tokens, memory: Float[Array, "B T C"], noisy: DenoisingQueries | None = None
    ) -> Outputs:
        """Memory to predictions (sections 7 to 12): the best tokens give first boxes, each decoder layer moves them,
        the best people are expanded into joints.

        Positions and samples read stopped references. A layer's prediction starts from the reference that entered it,
        not stopped, so that its loss teaches the layer before too ("look forward twice"). Predictions read the
        normalised queries, references the raw ones.
        """
        chosen = self.select(tokens, memory)
        first_boxes = jax.nn.sigmoid(self.token_box(chosen.content) + chosen.proposals)
        x, references = first_queries(chosen, first_boxes, noisy)
        own_block = None if noisy is None else noisy.own_block
        denoising = 0 if noisy is None else own_block.shape[-1]

        logits: list[Array] = []
        boxes: list[Array] = []
        points: list[Array] = []
        box_layers = self.config.box_layers
        with jax.named_scope("human_decoder"):
            attend = partial(attend_people, own_block=own_block)
            for layer in range(box_layers):
                entered, stopped = references[-1], jax.lax.stop_gradient(references[-1])
                x = self.run_layer(layer, x, stopped, attend, memory, tokens)
                h = self.norm(x)
                logits.append(self.class_heads[layer](h))
                boxes.append(move_boxes(self.box_heads[layer], h, entered))
                references.append(move_boxes(self.box_heads[layer], x, stopped))
        with jax.named_scope("expansion"):
            kept = best(self.class_heads[box_layers - 1](x[:, denoising:]), self.instances_of(x.shape[1] - denoising))
            x, references[-1] = self.expand_people(x, references[-1], kept, denoising)
        with jax.named_scope("keypoint_decoder"):
            attend = partial(attend_instances, own_block=own_block, members=self.members)
            for layer in range(box_layers, self.config.decoder_layers):
                entered, stopped, entering = references[-1], jax.lax.stop_gradient(references[-1]), x
                x = self.run_layer(layer, x, stopped, attend, memory, tokens)
                for found, value in zip((logits, boxes, points), self.read(layer, x, entered, denoising), strict=True):
                    found.append(value)
                references.append(self.move(layer, x, stopped, denoising))
        return Outputs(
            people=People(
                jnp.stack([*(z[:, denoising:] for z in logits[:box_layers]), chosen.logits]),
                jnp.stack([*(z[:, denoising:] for z in boxes[:box_layers]), first_boxes]),
            ),
            instances=Instances(
                jnp.stack([z[:, denoising:] for z in logits[box_layers:]]),
                jnp.stack([z[:, denoising:] for z in boxes[box_layers:]]),
                jnp.stack(points),
            ),
            denoised=None
            if noisy is None
            else Denoised(
                jnp.stack([z[:, :denoising] for z in logits]),
                jnp.stack([z[:, :denoising] for z in boxes]),
                noisy.column,
                noisy.target,
            ),
            references=tuple(references),
            queries=entering,
            token=chosen.token,
            kept=kept,
        )

    def instances_of(self, people: int) -> int:
        """I: `num_instances`, or all people where there are fewer."""
        return min(self.config.num_instances, people)

    def run_layer(
        self,
        layer: int,
        x: Float[Array, "B Q C"],
        references: Float[Array, "B Q 4"],
        attend: Attend,
        memory: Float[Array, "B T C"],
        tokens: Tokens,
    ) -> Float[Array, "B Q C"]:
        """Queries through a decoder layer; `references` are stopped."""
        places, position = self.placed(references, tokens)
        return run_block(self.config.remat, self.layers[layer], x, position, places, attend, memory, tokens)

    def placed(
        self, references: Float[Array, "B Q 4"], tokens: Tokens
    ) -> tuple[Float[Array, "B Q L 4"], Float[Array, "B Q C"]]:
        """Boxes in units of each level's padded map, and the positions of their queries, in the type of these."""
        places = on_maps(references, tokens)
        return places, query_positions(self.position_head, places, self.config.dim).astype(self.dtype)

    def expand_people(
        self, x: Float[Array, "B Q C"], references: Float[Array, "B Q 4"], kept: Array, denoising: int
    ) -> tuple[Float[Array, "B _ C"], Float[Array, "B _ 4"]]:
        """The people that are kept become instances; denoising queries pass."""
        people, boxes = take(x[:, denoising:], kept), take(references[:, denoising:], kept)
        embeddings, sides = self.joint_embeddings[...], self.joint_sides[...]
        instances, places = expand(people, boxes, self.expansion_head, embeddings, sides)
        return (
            jnp.concatenate([x[:, :denoising], instances], 1),
            jnp.concatenate([references[:, :denoising], places], 1),
        )

    def read(
        self, layer: int, x: Float[Array, "B Q C"], entered: Float[Array, "B Q 4"], denoising: int
    ) -> tuple[Float[Array, "B _ c"], Float[Array, "B _ 4"], Float[Array, "B I K 2"]]:
        """Predictions of a pose layer: logits and boxes of denoising queries and people, points of joints."""
        (h, joints), (boxes, joint_boxes) = (apart(z, denoising, self.members) for z in (self.norm(x), entered))
        point_head = self.point_heads[layer - self.config.box_layers]
        points = move_halves(point_head, joints, joint_boxes[..., :2])
        return self.class_heads[layer](h), move_boxes(self.box_heads[layer], h, boxes), points

    def move(
        self, layer: int, x: Float[Array, "B Q C"], stopped: Float[Array, "B Q 4"], denoising: int
    ) -> Float[Array, "B Q 4"]:
        """References that a pose layer hands on."""
        (x, joints), (boxes, joint_boxes) = (apart(z, denoising, self.members) for z in (x, stopped))
        centres = move_halves(self.point_heads[layer - self.config.box_layers], joints, joint_boxes[..., :2])
        sides = move_halves(self.side_head, joints, joint_boxes[..., 2:])
        return in_a_row(move_boxes(self.box_heads[layer], x, boxes), jnp.concatenate([centres, sides], -1))

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted sum of all outputs' losses, and the unweighted terms by their released names (`loss_ce_0` ..)."""
        return edpose_loss(outputs, batch, self.config.loss, self.skeleton.sigmas, self.solver)

    def decode(self, outputs: Outputs, batch: Batch) -> Poses:
        """The best `num_select` pairs of instance and class of the last layer in original pixels, best first."""
        found = outputs.instances
        return decode(found.logits[-1], found.points[-1], batch, self.config.num_select, found.boxes[-1])


def first_queries(
    chosen: Selected, boxes: Float[Array, "B N 4"], noisy: DenoisingQueries | None
) -> tuple[Float[Array, "B Q C"], list[Float[Array, "B Q 4"]]]:
    """Queries of the first layer and the boxes it starts from: what the encoder says, stopped, behind the denoising
    queries."""
    x, boxes = jax.lax.stop_gradient((chosen.content, boxes))
    if noisy is None:
        return x, [boxes]
    x = jnp.concatenate([noisy.content.astype(x.dtype), x], 1)
    return x, [jnp.concatenate([noisy.boxes, boxes], 1)]
