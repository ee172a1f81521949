"""The flow is a density: it integrates to one, and its logarithm is what the change of variables says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.layers.real_nvp import RealNVP


@pytest.fixture(scope="module")
def flow():
    """Couplings with kernels three times as large as at the start: a density far from the standard normal."""
    made = RealNVP(4, 16, jnp.dtype("float32"), nnx.Rngs(0))
    for path, kernel in nnx.to_flat_state(nnx.state(made)):
        if path[-1] == "kernel":
            kernel[...] = 3 * kernel[...]
    return made


def to_normal(flow, x):
    """A point's place under the standard normal: the couplings undone one by one, on scalars."""
    x = list(x)
    for k in reversed(range(len(flow.scales))):
        moved, kept = k % 2, 1 - k % 2
        fixed = jnp.zeros(2).at[kept].set(x[kept])
        scale, shift = jnp.tanh(flow.scales[k](fixed)[moved]), flow.shifts[k](fixed)[moved]
        x[moved] = (x[moved] - shift) * jnp.exp(-scale)
    return jnp.stack(x)


def test_density_is_the_normal_one_times_the_jacobian(flow):
    points = jax.random.normal(jax.random.key(0), (20, 2))

    @jax.jit
    @jax.vmap
    def place_and_jacobian(x):
        return to_normal(flow, x), jax.jacfwd(lambda x: to_normal(flow, x))(x)

    z, jacobian = place_and_jacobian(points)
    expected = np.log(np.exp(-0.5 * np.square(z).sum(-1)) / (2 * np.pi) * np.abs(np.linalg.det(jacobian)))
    assert np.allclose(flow.log_prob(points), expected, atol=1e-4)
    plain = -0.5 * np.square(points).sum(-1) - np.log(2 * np.pi)
    assert not np.allclose(flow.log_prob(points), plain, atol=0.1), "far from the standard normal"


def test_density_integrates_to_one(flow):
    step = 0.05
    axis = jnp.arange(-15, 15, step)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1)
    assert np.isclose(jnp.exp(jax.jit(flow.log_prob)(grid)).sum() * step**2, 1, atol=1e-3)
