"""Random initial values, drawn by numpy from the key's bits.

Drawing with jax.random compiles a program for every shape, which takes longer than anything else before the first
step (11 s for the small synthetic model); numpy draws the same numbers on every platform and compiles nothing.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array


class Keys:
    """A stream of random keys, with the one method of nnx.Rngs that layers call; it counts in Python.

    nnx.Rngs counts in arrays, and under eval_shape every draw then searches the whole trace: 20 of the 23 s that
    the shapes of a full-size model took.
    """

    def __init__(self, key: Array):
        self.key = key
        self.count = 0

    def params(self) -> Array:
        """The next key."""
        self.count += 1
        return jax.random.fold_in(self.key, self.count)


Rngs = nnx.Rngs | Keys


Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def drawn_on_host(draw: Draw, shape: tuple[int, ...], dtype: Any, bits: Any) -> np.ndarray:
    """draw(generator, shape) with a generator that follows from the bits of a key."""
    generator = np.random.Generator(np.random.Philox(seed=np.asarray(bits).ravel().tolist()))
    return draw(generator, shape).astype(dtype)


def drawn(draw: Draw, key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
    """An array of this shape and type; with `draw` given, an initialiser."""
    bits = jax.random.key_data(key)
    on_host = functools.partial(drawn_on_host, draw, tuple(shape), dtype)
    if isinstance(bits, jax.core.Tracer):  # inside jit or eval_shape
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(tuple(shape), dtype), bits)
    return jnp.asarray(on_host(bits))


def uniform(bound: float) -> nnx.Initializer:
    """U(-bound, bound)."""
    return functools.partial(drawn, lambda generator, shape: generator.random(shape, np.float32) * (2 * bound) - bound)


def normal(deviation: float = 1.0) -> nnx.Initializer:
    """N(0, deviation^2)."""
    return functools.partial(drawn, lambda generator, shape: generator.standard_normal(shape, np.float32) * deviation)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """fan_in, fan_out of a kernel (..., in, out); leading axes are the kernel area."""
    area = math.prod(shape[:-2])
    return area * shape[-2], area * shape[-1]


def by_shape(make: Callable[[int, int], nnx.Initializer]) -> nnx.Initializer:
    """An initialiser that depends on the fans of the kernel it is for."""
    return lambda key, shape, dtype=jnp.float32, out_sharding=None: make(*fans(shape))(key, shape, dtype)


xavier_uniform = by_shape(lambda fan_in, fan_out: uniform(math.sqrt(6 / (fan_in + fan_out))))
kaiming_uniform = by_shape(lambda fan_in, fan_out: uniform(math.sqrt(3 / fan_in)))  # with slope 1
he_normal = by_shape(lambda fan_in, fan_out: normal(math.sqrt(2 / fan_in)))
he_normal_fan_out = by_shape(lambda fan_in, fan_out: normal(math.sqrt(2 / fan_out)))
pytorch_uniform = by_shape(lambda fan_in, fan_out: uniform_fan_in(fan_in))  # PyTorch's default for weights


def uniform_fan_in(fan_in: int) -> nnx.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what PyTorch draws for the biases (and, by default, weights) of a layer."""
    return uniform(fan_in**-0.5)
