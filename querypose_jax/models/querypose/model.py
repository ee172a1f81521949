"""QueryPose (Xiao et al., NeurIPS 2022): learnable proposals, six cascaded stages, one box and one pose per query."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict, FrozenConfigDict

from kernels.assignment import Matches
from querypose_jax.backbones.backbone import Backbone, normalise
from querypose_jax.geometry.boxes import from_cxcywh, picture_scale
from querypose_jax.layers.initialisers import Keys, normal
from querypose_jax.layers.linear import at_least_float32
from querypose_jax.layers.real_nvp import RealNVP
from querypose_jax.layers.remat import run_block
from querypose_jax.models.base import PoseModel, Wanted
from querypose_jax.models.querypose.box_decoder import BoxDecoder
from querypose_jax.models.querypose.criterion import cascade_loss
from querypose_jax.models.querypose.decode import box_scores, clip_boxes, decode, final_scores
from querypose_jax.models.querypose.matching import match
from querypose_jax.models.querypose.outputs import Outputs
from querypose_jax.models.querypose.packing import Rows, put_rows, take_rows, training_layout
from querypose_jax.models.querypose.pose_decoder import PoseDecoder, PoseState, RowGroups
from querypose_jax.models.querypose.proposals import initial_proposals
from querypose_jax.models.querypose.pruning import Pruning, Refined, pruning_for, pruning_notes, refine_wanted
from querypose_jax.models.querypose.variants import (
    boxes_come_first,
    carries_part_queries,
    reads_part_queries,
    refines_all,
    writes_back,
)
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import Batch, Poses


class QueryPose(PoseModel):
    """The whole model; see `Outputs` for what a call returns."""

    def __init__(
        self,
        config: ConfigDict,
        skeleton: Skeleton,
        pictures_per_group: int,
        rngs: nnx.Rngs,
        solver: str = "callback",
    ):
        """
        Args:
            config: `config.model`.
            skeleton: its parts shape the pose decoder.
            pictures_per_group: how many pictures share batch-norm statistics in the pose decoder and in an hrnet; 0 =
                the whole batch.
            solver: `config.matching.solver`.
        """
        self.config = FrozenConfigDict(config)
        self.skeleton = skeleton
        self.pictures_per_group = pictures_per_group
        self.solver = solver
        self.remat = config.remat
        self.dtype = jnp.dtype(config.dtype)
        keys = Keys(rngs.params())
        wide = at_least_float32(self.dtype)
        self.backbone = Backbone(config.backbone, self.dtype, keys, pictures_per_group)
        self.proposal_boxes = nnx.Param(initial_proposals(config).astype(wide))  # N 4: cx, cy, w, h of the picture
        self.proposal_queries = nnx.Param(normal()(keys.params(), (config.num_proposals, config.dim), wide))
        if reads_part_queries(config):
            self.part_queries = nnx.Param(normal()(keys.params(), (len(skeleton.parts), config.part_dim), wide))
        self.box_decoders = nnx.List([BoxDecoder(config, self.dtype, keys) for _ in range(config.stages)])
        self.pose_decoders = nnx.List([PoseDecoder(config, skeleton, self.dtype, keys) for _ in range(config.stages)])
        share_initial_vectors(self.box_decoders)
        share_initial_vectors(self.pose_decoders)
        self.flow = RealNVP(config.flow_couplings, config.flow_dim, self.dtype, keys)

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Outputs:
        """Pictures to predictions. In training the people of the batch are matched inside, so its targets are read.

        `key` is for what is drawn in a training step (drop path of a swin); without one nothing is dropped.
        """
        pyramid = self.backbone(normalise(batch, self.dtype), train, key)
        return self.cascade(pyramid, batch, train)

    def cascade(self, pyramid: Sequence[Float[Array, "B _ _ C"]], batch: Batch, train: bool) -> Outputs:
        """The stages, from the features P2..P5 on."""
        if train and not writes_back(self.config):
            return self.train_apart(pyramid, batch)
        boxes, queries = self.first_queries(batch)
        layout = training_layout(batch, self.pictures_per_group) if train else None
        part_queries = None
        stages = []
        for box_decoder, pose_decoder in zip(self.box_decoders, self.pose_decoders, strict=True):
            logits, new_boxes, queries = run_block(self.remat, box_decoder, pyramid, boxes, queries)
            boxes = jax.lax.stop_gradient(new_boxes)
            if train:
                matches = match(logits, boxes, batch, self.config.loss, self.solver)
                pose, queries = self.decode_rows(
                    pose_decoder, pyramid[0], boxes, queries, part_queries, matches, layout
                )
            else:
                matches = None
                pose, queries = self.decode_all(pose_decoder, pyramid[0], boxes, queries, part_queries)
            part_queries = pose.part_queries
            stages.append((logits, new_boxes, pose.xy, pose.sigma, matches))
        logits, boxes, xy, sigma, matches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *stages)
        return Outputs(logits, boxes, xy, sigma, matches, layout[0] if train else None)

    def train_apart(self, pyramid: Sequence[Float[Array, "B _ _ C"]], batch: Batch) -> Outputs:
        """Training where pose stages change no query (the light version): one call matches all stages' boxes."""
        logits, boxes, queries = self.box_stages(pyramid, batch)
        matches = match(logits, boxes, batch, self.config.loss, self.solver)
        layout = training_layout(batch, self.pictures_per_group)
        part_queries = None
        poses = []
        for stage, pose_decoder in enumerate(self.pose_decoders):
            fixed_boxes = jax.lax.stop_gradient(boxes[stage])
            matched = Matches(matches.query[stage], matches.person[stage])
            pose, _ = self.decode_rows(
                pose_decoder, pyramid[0], fixed_boxes, queries[stage], part_queries, matched, layout
            )
            part_queries = pose.part_queries
            poses.append((pose.xy, pose.sigma))
        xy, sigma = map(jnp.stack, zip(*poses, strict=True))
        return Outputs(logits, boxes, xy, sigma, matches, layout[0])

    def box_stages(
        self, pyramid: Sequence[Float[Array, "B _ _ C"]], batch: Batch
    ) -> tuple[Float[Array, "S B N _"], Float[Array, "S B N 4"], Float[Array, "S B N C"]]:
        """All box decoders, where no pose stage changes a query: class logits, boxes and queries of every stage."""
        boxes, queries = self.first_queries(batch)
        stages = []
        for box_decoder in self.box_decoders:
            logits, new_boxes, queries = run_block(self.remat, box_decoder, pyramid, boxes, queries)
            stages.append((logits, new_boxes, queries))
            boxes = jax.lax.stop_gradient(new_boxes)  # not the learnt first ones
        logits, boxes, queries = map(jnp.stack, zip(*stages, strict=True))
        return logits, boxes, queries

    def first_queries(self, batch: Batch) -> tuple[Float[Array, "B N 4"], Float[Array, "B N C"]]:
        """The learnt proposals of each picture: boxes in network pixels, instance queries."""
        count = batch.valid_size.shape[0]
        scale = picture_scale(batch.valid_size, self.proposal_boxes.dtype)[:, None]
        queries = self.proposal_queries[...].astype(self.dtype)
        return from_cxcywh(self.proposal_boxes[...]) * scale, jnp.broadcast_to(queries, (count, *queries.shape))

    def first_part_queries(
        self, queries: Float[Array, "D Q C"], carried: Float[Array, "D Q M P"] | None
    ) -> Float[Array, "D Q M P"] | None:
        """The part queries that a pose stage starts from: those that the stage before has left; in the first stage, and
        where none are carried, the learnt ones, the same for every instance. None where the model reads none."""
        if not reads_part_queries(self.config):
            return None
        if carried is not None and carries_part_queries(self.config):
            return carried
        learnt = self.part_queries[...].astype(self.dtype)
        return jnp.broadcast_to(learnt, (*queries.shape[:-1], *learnt.shape))

    def decode_all(
        self, pose_decoder: PoseDecoder, p2: Array, boxes: Array, queries: Array, part_queries: Array | None
    ) -> tuple[PoseState, Float[Array, "B N C"]]:
        """Inference: the pose decoder on every query.

        As released, the refined queries are dropped; `carry_query_at_test` keeps them, the paper's Figure 3(b), and so
        does `query_feedback="all"`, which has trained with them.
        """
        part_queries = self.first_part_queries(queries, part_queries)
        pose = pose_decoder(p2, boxes, jnp.zeros(boxes.shape[:2], jnp.int32), queries, part_queries)
        return pose, queries if boxes_come_first(self.config) else pose.queries

    def decode_rows(
        self,
        pose_decoder: PoseDecoder,
        p2: Array,
        boxes: Array,
        queries: Array,
        part_queries: Array | None,
        matches: Matches,
        layout: tuple[Rows, RowGroups],
    ) -> tuple[PoseState, Float[Array, "B N C"]]:
        """Training: the pose decoder on the matched queries, packed in rows; the refined queries are written back."""
        rows, groups = layout
        query = take_rows(matches.query, rows.picture, rows.rank)
        if refines_all(self.config):
            features, queries = refine_every_query(pose_decoder, p2, boxes, queries)
            row_features = take_rows(features, rows.picture, query)
            row_queries = take_rows(queries, rows.picture, query)
            part_queries = self.first_part_queries(row_queries, part_queries)
            row_features = row_features.reshape(-1, *row_features.shape[2:])
            return pose_decoder.regress(row_features, row_queries, part_queries, groups), queries
        row_boxes = take_rows(boxes, rows.picture, query)
        row_queries = take_rows(queries, rows.picture, query)
        part_queries = self.first_part_queries(row_queries, part_queries)
        row_boxes = jnp.where(rows.is_row[..., None], row_boxes, jnp.array([0, 0, 1, 1], boxes.dtype))
        rest = rows.picture, row_queries, part_queries, groups
        pose = run_block(self.remat, pose_decoder, p2, row_boxes, *rest)
        if not writes_back(self.config):
            return pose, queries
        nowhere = queries.shape[1]  # padding rows are written back to no query
        return pose, put_rows(queries, pose.queries, rows.picture, jnp.where(rows.is_row, query, nowhere))

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted sum of all stages' losses, and the unweighted terms by their released names (`loss_ce_0` ..)."""
        return cascade_loss(outputs, batch, self.config.loss, self.flow.log_prob)

    def decode(self, outputs: Outputs, batch: Batch) -> Poses:
        """Predictions of the last stage in original pixels, in query order: no threshold, no NMS.

        Score = class probability x mean keypoint score; keypoint score = 1 - mean sigma. A pose whose box is empty
        after clipping to the picture is not valid.
        """
        return decode(outputs.logits[-1], outputs.boxes[-1], outputs.xy[-1], outputs.sigma[-1], batch)

    @property
    def leaves_out(self) -> bool:
        """Where boxes and scores depend on the pose stages, all queries run."""
        return boxes_come_first(self.config)

    def predict(self, batch: Batch, wanted: Wanted | None = None, flip: bool = False) -> Poses:
        """The poses of a batch, see the base. Pose stages run for no more queries than the wanted poses need."""
        if wanted is None or flip or not self.leaves_out:
            return super().predict(batch, flip=flip)
        return self.predict_pruned(batch, pruning_for(wanted), wanted.threshold)

    def predict_pruned(self, batch: Batch, pruning: Pruning, threshold: float | Float[Array, ""] = 0.0) -> Poses:
        """The poses of the queries that `pruning` and the threshold want."""
        return self.pruned(self.backbone(normalise(batch, self.dtype)), batch, pruning, threshold)

    def pruned(
        self,
        pyramid: Sequence[Float[Array, "B _ _ C"]],
        batch: Batch,
        pruning: Pruning,
        threshold: float | Float[Array, ""],
    ) -> Poses:
        """Inference from the features P2..P5 on: all box stages, then the pose stages of the wanted queries."""
        all_logits, all_boxes, all_queries = self.box_stages(pyramid, batch)
        logits, boxes = all_logits[-1], all_boxes[-1]

        def refine(chosen: Int[Array, "B Q"]) -> Refined:
            rows = jnp.minimum(chosen, boxes.shape[1] - 1)  # no query: any will do, its results are dropped
            part_queries = None
            for pose_decoder, *stage in zip(self.pose_decoders, all_boxes, all_queries, strict=True):
                stage_boxes, stage_queries = (jnp.take_along_axis(x, rows[..., None], 1) for x in stage)
                pose, _ = self.decode_all(pose_decoder, pyramid[0], stage_boxes, stage_queries, part_queries)
                part_queries = pose.part_queries
            row_logits = jnp.take_along_axis(logits, rows[..., None], 1)
            return Refined(pose.xy, pose.sigma, final_scores(row_logits, pose.sigma))

        is_box = clip_boxes(boxes, batch)[1]
        found, has_run = refine_wanted(pruning, box_scores(logits), is_box, refine, threshold)
        poses = decode(logits, boxes, found.xy, found.sigma, batch)
        return dataclasses.replace(
            poses,
            scores=jnp.where(has_run, poses.scores, 0),
            valid=poses.valid & has_run,
            notes=pruning_notes(has_run, pruning),
        )


def refine_every_query(
    pose_decoder: PoseDecoder, p2: Float[Array, "B _ _ C"], boxes: Float[Array, "B N 4"], queries: Float[Array, "B N C"]
) -> tuple[Float[Array, "B N h w C"], Float[Array, "B N C"]]:
    """The feature maps of all queries and what the dynamic MLP makes of them. Each picture is its own shard."""
    features = pose_decoder.person_features(p2, boxes, jnp.zeros(boxes.shape[:2], jnp.int32))
    queries = pose_decoder.refine_queries(queries, features)
    return features.reshape(*boxes.shape[:2], *features.shape[1:]), queries


def share_initial_vectors(stages: Sequence[nnx.Module]) -> None:
    """Gives all stages the vectors (biases, norms) of the first one: the released code clones a stage and redraws
    only what has more than one dimension."""
    first = dict(nnx.to_flat_state(nnx.state(stages[0], nnx.Param)))
    for stage in stages[1:]:
        for path, variable in nnx.to_flat_state(nnx.state(stage, nnx.Param)):
            if path[-1] == "bias":
                variable.set_value(first[path][...])
