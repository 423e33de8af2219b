"""The matrix-product ceiling: what this machine reaches on the one operation that both models are made of."""

import statistics
import time

import jax
import jax.numpy as jnp

from jaxcompare.config import Precision
from jaxcompare.measure.runtime import MATMUL_PRECISION

REPEATS = 7


def measure_matmul_ceiling(precision: Precision) -> float:
    """FLOP/s of a large square matrix product on the first device, all of its cores: median of 7, after one more."""
    device = jax.local_devices()[0]
    side = 2048 if device.platform == "cpu" else 8192
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    with jax.default_matmul_precision(MATMUL_PRECISION[precision]):
        product = jax.jit(jnp.matmul)
        factor = jax.device_put(jnp.ones((side, side), dtype), device)
        times = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            jax.block_until_ready(product(factor, factor))
            times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[1:])
