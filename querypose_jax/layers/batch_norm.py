"""Batch norm with statistics per group of pictures: over packed rows, of which only real ones count, or whole maps."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from querypose_jax.errors import UserError
from querypose_jax.layers.linear import NORM_EPSILON, at_least_float32

MOMENTUM = 0.9  # of the running statistics: new = 0.9 old + 0.1 batch


def exact_product(a: Float[Array, "I J"], b: Float[Array, "J K"]) -> Float[Array, "I K"]:
    """A matrix product that accelerators must not round: these are statistics, not features."""
    return jnp.matmul(a, b, precision="highest")


class MaskedBatchNorm(nnx.Module):
    """Batch norm of rows of maps.

    In training rows are normalised with the statistics of their group (biased variance); the running
    statistics move towards the mean of the groups' statistics (unbiased variance). Without a real row they stay.
    """

    def __init__(self, channels: int, dtype: jnp.dtype):
        param_dtype = at_least_float32(dtype)
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(channels, param_dtype))
        self.bias = nnx.Param(jnp.zeros(channels, param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, param_dtype))

    def __call__(
        self,
        x: Float[Array, "R h w C"],
        is_row: Bool[Array, " R"] | None = None,
        group: Int[Array, " R"] | None = None,
        groups: int = 1,
    ) -> Float[Array, "R h w C"]:
        """Normalises with running statistics, or, where `is_row` is given (training), with those of each group."""
        if is_row is None:
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var = self._batch_statistics(x, is_row, group, groups)
        scale = self.scale[...] / jnp.sqrt(var + NORM_EPSILON)
        shift = self.bias[...] - mean * scale
        return x * scale.astype(self.dtype) + shift.astype(self.dtype)

    def _batch_statistics(self, x, is_row, group, groups):
        """Mean and variance for each row, [R, 1, 1, C]; updates the running statistics."""
        wide = x.astype(at_least_float32(self.dtype))
        member = (group[None] == jnp.arange(groups)[:, None]) & is_row[None]  # [groups, R]
        member = member.astype(wide.dtype)
        count = member.sum(1, keepdims=True) * (x.shape[1] * x.shape[2])  # [groups, 1]
        safe = jnp.maximum(count, 1)
        mean = exact_product(member, wide.sum((1, 2))) / safe  # [groups, C]
        row_mean = exact_product(member.T, mean)[:, None, None]
        deviation = wide - row_mean
        var = exact_product(member, jnp.square(deviation).sum((1, 2))) / safe
        self._update_running(mean, var * count / jnp.maximum(count - 1, 1), count > 0)
        # Padding rows belong to no group: variance 1 keeps them finite.
        row_var = jnp.where(is_row[:, None], exact_product(member.T, var), 1)
        return row_mean, row_var[:, None, None]

    def _update_running(self, mean, unbiased_var, is_group):
        used = jnp.maximum(is_group.sum(), 1)
        weight = jnp.where(is_group.any(), 1 - MOMENTUM, 0.0)
        for running, batch in ((self.mean, mean), (self.var, unbiased_var)):
            new = jnp.where(is_group, batch, 0).sum(0) / used
            running.set_value(running[...] + weight * (new - running[...]))


class PictureBatchNorm(nnx.Module):
    """Batch norm of whole maps, padding around pictures included.

    In training a picture is normalised with the statistics of its group of neighbouring pictures (biased variance); the
    running statistics move towards the mean of the groups' statistics (unbiased variance). A group whose pictures lie
    on one device needs nothing from the others.
    """

    def __init__(self, channels: int, pictures_per_group: int, dtype: jnp.dtype):
        """`pictures_per_group` = 0 stands for the whole batch."""
        param_dtype = at_least_float32(dtype)
        self.pictures_per_group = pictures_per_group
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(channels, param_dtype))
        self.bias = nnx.Param(jnp.zeros(channels, param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, param_dtype))

    def __call__(self, x: Float[Array, "B h w C"], train: bool) -> Float[Array, "B h w C"]:
        """Normalises with running statistics, or, in training, with those of each group.

        Raises:
            UserError: a training batch that does not split into groups.
        """
        wide = x.astype(at_least_float32(self.dtype))
        if not train:
            return self._normalised(wide, self.mean[...], self.var[...])
        groups = wide.reshape(-1, self._group_size(x.shape[0]), *x.shape[1:])  # [groups, pictures, h, w, C]
        mean = groups.mean((1, 2, 3), keepdims=True)
        var = jnp.square(groups - mean).mean((1, 2, 3), keepdims=True)
        count = math.prod(groups.shape[1:4])
        for running, batch in ((self.mean, mean), (self.var, var * count / max(count - 1, 1))):
            running.set_value(MOMENTUM * running[...] + (1 - MOMENTUM) * batch.mean((0, 1, 2, 3)))
        return self._normalised(groups, mean, var).reshape(x.shape)

    def _normalised(self, wide, mean, var):
        y = (wide - mean) * (self.scale[...] / jnp.sqrt(var + NORM_EPSILON)) + self.bias[...]
        return y.astype(self.dtype)

    def _group_size(self, pictures: int) -> int:
        size = min(self.pictures_per_group or pictures, pictures)
        if pictures % size:
            raise UserError(
                f"train.pictures_per_group={size} does not divide a batch of {pictures} pictures; "
                "choose a divisor, or 0 for the whole batch"
            )
        return size
