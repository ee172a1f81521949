"""One stage of the keypoint decoder (paper sections 3.2 and 3.3): where the joints of a person are, and how sure."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from kernels.choice import on_every_device
from kernels.roi_align import roi_align
from querypose_jax.backbones.fpn import PYRAMID_STRIDES
from querypose_jax.errors import UserError
from querypose_jax.layers.attention import SelfAttention
from querypose_jax.layers.batch_norm import MaskedBatchNorm
from querypose_jax.layers.convolution import Conv
from querypose_jax.layers.dynamic_conv import DynamicConv
from querypose_jax.layers.initialisers import Rngs, uniform, uniform_fan_in, xavier_uniform
from querypose_jax.layers.linear import FeedForward, at_least_float32, layer_norm, linear
from querypose_jax.layers.upsample import DoubleUpsample
from querypose_jax.models.querypose.part_reading import make_reading
from querypose_jax.skeletons import Skeleton


class RowGroups(NamedTuple):
    """Which rows are people and which share batch-norm statistics (training)."""

    is_row: Bool[Array, " Q"]
    group: Int[Array, " Q"]
    groups: int


class PoseState(NamedTuple):
    """What a stage hands on, per instance."""

    xy: Float[Array, "D Q K 2"]
    """Box-relative keypoints, see geometry/keypoints.py."""
    sigma: Float[Array, "D Q K 2"]
    """Uncertainty in (0, 1), box units."""
    queries: Float[Array, "D Q C"]
    part_queries: Float[Array, "D Q M P"]
    """What the keypoints were regressed from: in two ablations not part queries, see PoseDecoder.regress."""


def conv3x3(fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: Rngs) -> Conv:
    """3x3 convolution with bias, map size kept."""
    return Conv(fan_in, fan_out, 3, dtype, rngs, init=xavier_uniform, bias_init=nnx.initializers.zeros)


class SpatialPartEmbedding(nnx.Module):
    """SPEGM, section 3.2: each part attends to its own places of the person's upsampled feature map."""

    def __init__(self, dim: int, part_dim: int, parts: int, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        self.upsample = DoubleUpsample(dim, dtype, rngs)
        self.norm = MaskedBatchNorm(dim, dtype)
        self.attention = conv3x3(dim, parts, dtype, rngs)
        self.project = linear(dim, part_dim, dtype, rngs, bias="zero")

    def __call__(self, features: Float[Array, "Q h w C"], groups: RowGroups | None) -> Float[Array, "Q M P"]:
        x, weights = self.attend(features, groups)
        return self.project(jnp.einsum("qhwm,qhwc->qmc", weights, x))

    def attend(
        self, features: Float[Array, "Q h w C"], groups: RowGroups | None = None
    ) -> tuple[Float[Array, "Q H W C"], Float[Array, "Q H W M"]]:
        """The upsampled features and the attention map of each part, which sums to 1 over its places."""
        x = jax.nn.relu(self.norm(self.upsample(features), *(groups or ())))
        maps = self.attention(x).astype(at_least_float32(self.dtype))
        return x, jax.nn.softmax(maps, (1, 2)).astype(self.dtype)  # over all places of a map


class SelectiveIteration(nnx.Module):
    """SIM, section 3.3, Eq. 3: two independent gates weigh the new part embedding against the carried part query."""

    def __init__(self, part_dim: int, dtype: jnp.dtype, rngs: Rngs):
        self.squeeze = linear(part_dim, part_dim // 4, dtype, rngs, bias="none")
        self.norm = layer_norm(part_dim // 4, dtype, rngs)
        self.expand = linear(part_dim // 4, 2 * part_dim, dtype, rngs)

    def __call__(self, embedding: Float[Array, "*Q M P"], part_queries: Float[Array, "*Q M P"]):
        hidden = jax.nn.relu(self.norm(self.squeeze(embedding + part_queries)))
        new_gate, old_gate = jnp.split(jax.nn.sigmoid(self.expand(hidden)), 2, -1)
        return embedding * new_gate + part_queries * old_gate


class PartResiduals(nnx.Module):
    """One linear map per part from the instance query; stacked, so that all parts are one multiplication."""

    def __init__(self, dim: int, part_dim: int, parts: int, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        wide = at_least_float32(dtype)
        kernels = [xavier_uniform(rngs.params(), (dim, part_dim), wide) for _ in range(parts)]
        self.kernel = nnx.Param(jnp.stack(kernels))  # M C P
        self.bias = nnx.Param(uniform_fan_in(dim)(rngs.params(), (parts, part_dim), wide))

    def __call__(self, queries: Float[Array, "*Q C"]) -> Float[Array, "*Q M P"]:
        return jnp.einsum("...c,mcp->...mp", queries, self.kernel[...].astype(self.dtype)) + self.bias[...].astype(
            self.dtype
        )


class KeypointHead(nnx.Module):
    """Two numbers per keypoint from the query of its part: one small matrix per keypoint, in skeleton order."""

    def __init__(self, part_dim: int, skeleton: Skeleton, dtype: jnp.dtype, rngs: Rngs):
        self.dtype = dtype
        part_of = {joint: (part, len(joints)) for part, (_, joints) in enumerate(skeleton.parts) for joint in joints}
        joints = range(skeleton.num_keypoints)
        self.part = nnx.static(tuple(part_of[joint][0] for joint in joints))
        wide = at_least_float32(dtype)
        # Xavier over the part's whole matrix (part_dim x 2 n): the released layer holds the n keypoints of a part.
        bounds = jnp.array([(6 / (part_dim + 2 * part_of[joint][1])) ** 0.5 for joint in joints], wide)
        unit = uniform(1.0)(rngs.params(), (len(joints), part_dim, 2), wide)
        self.kernel = nnx.Param(unit * bounds[:, None, None])
        self.bias = nnx.Param(uniform_fan_in(part_dim)(rngs.params(), (len(joints), 2), wide))

    def __call__(self, part_queries: Float[Array, "*Q M P"], unit: bool) -> Float[Array, "*Q K 2"]:
        """With `unit` the product, not the bias, is divided by the length of the part query.

        The paper has a plain linear layer here; the released code divides (spec of the coordinate head).
        """
        joints = part_queries[..., jnp.array(self.part), :]
        out = jnp.einsum("...kp,kpx->...kx", joints, self.kernel[...].astype(self.dtype))
        out = out.astype(at_least_float32(self.dtype))
        if unit:
            squared = jnp.square(joints.astype(out.dtype)).sum(-1, keepdims=True)
            out = out / jnp.sqrt(jnp.where(squared > 0, squared, 1))  # 0 / 1 instead of 0 / 0 on padding rows
        return out + self.bias[...]


class PoseDecoder(nnx.Module):
    """Refines part queries from the person's feature map and regresses keypoints relative to the box."""

    def __init__(self, config: ConfigDict, skeleton: Skeleton, dtype: jnp.dtype, rngs: Rngs):
        dim, part_dim, parts = config.dim, config.part_dim, len(skeleton.parts)
        self.cells = config.pose_roi
        self.roi_align = config.roi_align
        self.pose_query = config.pose_query
        self.reading = config.part_reading
        self.iteration = config.iteration
        widths = [dim] + [2 * dim] * (config.pose_convs - 1) + [dim]
        self.convs = nnx.List([conv3x3(a, b, dtype, rngs) for a, b in itertools.pairwise(widths)])
        self.light = config.light
        if not config.light:
            self.interaction = DynamicConv(dim, config.dynamic_dim, config.pose_roi**2, dtype, rngs)
            self.interaction_norm = layer_norm(dim, dtype, rngs)
            self.query_ffn = FeedForward(dim, config.ffn_dim, dtype, rngs)
            self.query_ffn_norm = layer_norm(dim, dtype, rngs)
        has_parts, reads_map = self.pose_query == "part", self.pose_query != "pooled"
        if has_parts:
            self.part_residuals = PartResiduals(dim, part_dim, parts, dtype, rngs)
        if reads_map and self.reading == "attention":
            self.part_embedding = SpatialPartEmbedding(dim, part_dim, parts, dtype, rngs)
        elif reads_map:
            self.part_reading = make_reading(self.reading, config, dtype, rngs)
        if has_parts and self.iteration == "selective":
            self.selective_iteration = SelectiveIteration(part_dim, dtype, rngs)
        elif has_parts and self.iteration == "concatenation":
            self.concatenation = linear(2 * part_dim, part_dim, dtype, rngs)
        if has_parts:
            self.attention = SelfAttention(part_dim, config.heads, dtype, rngs)
            self.attention_norm = layer_norm(part_dim, dtype, rngs)
        if reads_map:
            self.ffn = FeedForward(part_dim, config.ffn_dim, dtype, rngs)
            self.ffn_norm = layer_norm(part_dim, dtype, rngs)
        self.coordinates = KeypointHead(part_dim, skeleton, dtype, rngs)
        self.uncertainty = KeypointHead(part_dim, skeleton, dtype, rngs)

    @jax.named_scope("pose_decoders")
    def __call__(
        self,
        p2: Float[Array, "B _ _ C"],
        boxes: Float[Array, "D Q 4"],
        picture: Int[Array, "D Q"],
        queries: Float[Array, "D Q C"],
        part_queries: Float[Array, "D Q M P"] | None,
        groups: RowGroups | None = None,
    ) -> PoseState:
        """Instances come as Q on each of D shards of the batch; `picture` counts inside the shard.

        `part_queries` are None where the model reads none (variants.py).
        `groups` (over the D * Q flattened instances) switches batch norm to batch statistics: training.
        """
        features = self.person_features(p2, boxes, picture)
        if not self.light:
            queries = self.refine_queries(queries, features)
        return self.regress(features, queries, part_queries, groups)

    def regress(
        self,
        features: Float[Array, "R h w C"],
        queries: Float[Array, "D Q C"],
        part_queries: Float[Array, "D Q M P"] | None,
        groups: RowGroups | None = None,
    ) -> PoseState:
        """From an instance's feature map and refined query to its keypoints.

        They are regressed from its part queries; with an instance query (IQ of the paper's Table 1) from that query,
        enhanced; in the baseline of Table 2b from the mean of the map alone.
        """
        if self.pose_query == "part":
            found = self.update_parts(features, queries, part_queries, groups)
        elif self.pose_query == "instance":
            found = self.enhance_query(features, queries, groups)
        else:
            found = features.mean((1, 2)).reshape(*queries.shape[:-1], 1, -1)
        xy = self.coordinates(found, unit=True)
        sigma = jax.nn.sigmoid(self.uncertainty(found, unit=False))
        return PoseState(xy, sigma, queries, found)

    def update_parts(
        self,
        features: Float[Array, "R h w C"],
        queries: Float[Array, "D Q C"],
        part_queries: Float[Array, "D Q M P"] | None,
        groups: RowGroups | None,
    ) -> Float[Array, "D Q M P"]:
        """The part queries of this stage: what the parts read goes in, then they attend to each other."""
        embedding = self.embed(features, part_queries, groups)
        residuals = self.part_residuals(queries)
        part_queries = self.iterate(embedding.reshape(residuals.shape) + residuals, part_queries)
        part_queries = self.attention_norm(part_queries + self.attention(part_queries))
        return self.ffn_norm(part_queries + self.ffn(part_queries))

    def enhance_query(
        self, features: Float[Array, "R h w C"], queries: Float[Array, "D Q C"], groups: RowGroups | None
    ) -> Float[Array, "D Q 1 C"]:
        """The instance query with the embedding that it reads from the whole map added to it (IQ of Table 1)."""
        instance = queries[..., None, :]
        enhanced = instance + self.embed(features, instance, groups).reshape(instance.shape)
        return self.ffn_norm(enhanced + self.ffn(enhanced))

    def embed(
        self, features: Float[Array, "R h w C"], queries: Float[Array, "D Q M P"] | None, groups: RowGroups | None
    ) -> Float[Array, "R M P"]:
        """What each part, or the instance, reads from the person's feature map: by SPEGM, or as an ablation says."""
        if self.reading == "attention":
            return self.part_embedding(features, groups)
        return self.part_reading(features, queries.reshape(-1, *queries.shape[-2:]))

    def iterate(
        self, embedding: Float[Array, "D Q M P"], part_queries: Float[Array, "D Q M P"] | None
    ) -> Float[Array, "D Q M P"]:
        """The next part queries from the new embeddings and the carried ones (paper's Table 2a): SIM by default."""
        if self.iteration == "selective":
            return self.selective_iteration(embedding, part_queries)
        if self.iteration == "concatenation":
            return self.concatenation(jnp.concatenate([embedding, part_queries], -1))
        return embedding + part_queries if self.iteration == "summation" else embedding

    def person_features(
        self, p2: Float[Array, "B h w C"], boxes: Float[Array, "D Q 4"], picture: Int[Array, "D Q"]
    ) -> Float[Array, "D*Q cells cells C"]:
        """Each instance's own feature map: pooled from its box, then convolved."""
        features = self.pool(p2, boxes, picture)
        for conv in self.convs:
            features = jax.nn.relu(conv(features))
        return features

    def attention_maps(
        self, p2: Float[Array, "B _ _ C"], boxes: Float[Array, "D Q 4"], picture: Int[Array, "D Q"]
    ) -> Float[Array, "D*Q H W M"]:
        """Where in its box each part of a person looks (paper's section 3.2), for pictures of the network at work.

        The maps depend on the boxes alone, not on the queries, so that they are computed where they are wanted
        instead of being carried out of every forward pass.

        Raises:
            UserError: a model whose parts read otherwise (an ablation).
        """
        if self.pose_query == "pooled":
            raise UserError("config.model.pose_query='pooled' has no attention maps; 'part' has")
        if self.reading != "attention":
            raise UserError(f"config.model.part_reading={self.reading!r} has no attention maps; 'attention' has")
        return self.part_embedding.attend(self.person_features(p2, boxes, picture))[1]

    def pool(
        self, p2: Float[Array, "B h w C"], boxes: Float[Array, "D Q 4"], picture: Int[Array, "D Q"]
    ) -> Float[Array, "D*Q cells cells C"]:
        """RoIAlign on P2 alone, shard by shard."""
        shards = picture.shape[0]
        levels = p2.reshape(shards, -1, *p2.shape[1:])

        def pool_shard(p2: Array, boxes: Array, picture: Array) -> Array:
            return roi_align([p2], boxes, picture, PYRAMID_STRIDES[:1], self.cells, self.roi_align)

        pooled = on_every_device(jax.vmap(pool_shard), levels, boxes, picture)
        return pooled.reshape(-1, *pooled.shape[2:])

    def refine_queries(
        self, queries: Float[Array, "D Q C"], features: Float[Array, "D*Q h w C"]
    ) -> Float[Array, "D Q C"]:
        """The dynamic MLP and FFN of the full version. In the released code, not in the paper."""
        tokens = features.reshape(*queries.shape[:-1], -1, features.shape[-1])
        queries = self.interaction_norm(queries + self.interaction(queries, tokens))
        return self.query_ffn_norm(queries + self.query_ffn(queries))
