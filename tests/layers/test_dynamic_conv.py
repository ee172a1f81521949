"""Dynamic convolution against a loop over instances."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.layers.dynamic_conv import DynamicConv

DIM, HIDDEN, TOKENS = 6, 3, 4


def norm_relu(x):
    """LayerNorm with scale 1 and bias 0, then ReLU."""
    return np.maximum((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5), 0)


def test_each_query_writes_the_two_matrices_for_its_own_tokens():
    layer = DynamicConv(DIM, HIDDEN, TOKENS, jnp.dtype("float32"), nnx.Rngs(0))
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(3, DIM)).astype(np.float32)
    tokens = rng.normal(size=(3, TOKENS, DIM)).astype(np.float32)
    out = jax.jit(layer.__call__)(jnp.asarray(queries), jnp.asarray(tokens))

    def dense(linear, x):
        return x @ np.asarray(linear.kernel[...]) + np.asarray(linear.bias[...])

    for instance in range(3):
        written = dense(layer.dynamic_layer, queries[instance])
        squeeze = written[: DIM * HIDDEN].reshape(DIM, HIDDEN)
        expand = written[DIM * HIDDEN :].reshape(HIDDEN, DIM)
        x = norm_relu(norm_relu(tokens[instance] @ squeeze) @ expand)
        expected = norm_relu(dense(layer.out_layer, x.reshape(-1)))
        assert np.allclose(out[instance], expected, atol=1e-4)
