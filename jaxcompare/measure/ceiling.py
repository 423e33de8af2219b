"""What this machine reaches in JAX on the two things that both models are made of: a large matrix product, and a large
copy. `torch_side.epochs` measures the same in PyTorch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcompare.config import Precision
from jaxcompare.measure.clock import ceiling_sizes, time_calls
from jaxcompare.measure.runtime import MATMUL_PRECISION


class Ceilings(NamedTuple):
    """Of the median of `clock.STEPS` calls."""

    flops_per_s: float
    """A square matrix product, 2 · side³ operations."""
    copy_bytes_per_s: float
    """An array from one place of the device's memory to another, each byte read and written."""


def measure_ceilings(precision: Precision) -> Ceilings:
    """On the first device, all of its cores."""
    device = jax.local_devices()[0]
    side, values = ceiling_sizes(device.platform == "cpu")
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    # Random: a GPU runs faster on numbers that are all alike.
    key = jax.device_put(jax.random.key(0), device)
    with jax.default_matmul_precision(MATMUL_PRECISION[precision]):
        factor = jax.random.normal(key, (side, side), dtype)
        product = jax.jit(jnp.matmul)
        product_ms, _ = time_calls(lambda: product(factor, factor), jax.block_until_ready)
    source = jax.device_put(jnp.ones(values, jnp.float32), device)
    # Negated, since XLA hands over an array that nothing is done to; into the place of the last result, since new
    # memory costs the operating system more than the copy.
    copy = jax.jit(lambda source, place: -source, donate_argnums=1, keep_unused=True)
    place = jnp.zeros_like(source)

    def copy_again() -> jax.Array:
        nonlocal place
        place = copy(source, place)
        return place

    copy_ms, _ = time_calls(copy_again, jax.block_until_ready)
    return Ceilings(1e3 * 2 * side**3 / product_ms, 1e3 * 2 * source.nbytes / copy_ms)
