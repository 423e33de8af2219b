"""What this machine reaches in JAX on the two things that both models are made of: a large matrix product, and a large
copy. `twin.speed` measures the same in PyTorch."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcompare.config import Precision
from jaxcompare.measure.runtime import MATMUL_PRECISION

REPEATS = 7


class Ceilings(NamedTuple):
    """Medians of REPEATS, after one more."""

    flops_per_s: float
    """A square matrix product, 2 · side³ operations."""
    copy_bytes_per_s: float
    """An array from one place of the device's memory to another, each byte read and written."""


def sizes(platform: str) -> tuple[int, int]:
    """Side of the matrices, and values of the array: far more than the caches hold, and a fraction of a second."""
    return (2048, 2**26) if platform == "cpu" else (8192, 2**28)


def measure_ceilings(precision: Precision) -> Ceilings:
    """On the first device, all of its cores."""
    device = jax.local_devices()[0]
    side, values = sizes(device.platform)
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    # Random: a GPU runs faster on numbers that are all alike.
    key = jax.device_put(jax.random.key(0), device)
    with jax.default_matmul_precision(MATMUL_PRECISION[precision]):
        factor = jax.random.normal(key, (side, side), dtype)
        product = jax.jit(jnp.matmul)
        product_s = _median_seconds(lambda: product(factor, factor))
    source = jax.device_put(jnp.ones(values, jnp.float32), device)
    # Negated, since XLA hands over an array that nothing is done to; into the place of the last result, since new
    # memory costs the operating system more than the copy.
    copy = jax.jit(lambda source, place: -source, donate_argnums=1, keep_unused=True)
    place = jnp.zeros_like(source)

    def copy_again() -> jax.Array:
        nonlocal place
        place = copy(source, place)
        return place

    return Ceilings(2 * side**3 / product_s, 2 * source.nbytes / _median_seconds(copy_again))


def _median_seconds(function: Callable[[], jax.Array]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
