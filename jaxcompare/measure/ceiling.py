"""The matrix-product ceiling: what this machine reaches on the one operation that both models are made of."""

import statistics
import time

import jax
import jax.numpy as jnp

REPEATS = 7


def measure_matmul_ceiling(precision: str, dtype: jnp.dtype | None = None) -> float:
    """FLOP/s of a large square matrix product on the first device, all of its cores: the median of 7, after one more.

    Args:
        precision: as of `jax.default_matmul_precision`.
        dtype: of the factors; float32 by default.
    """
    device = jax.local_devices()[0]
    side = 2048 if device.platform == "cpu" else 8192
    with jax.default_matmul_precision(precision):
        product = jax.jit(jnp.matmul)
        factor = jax.device_put(jnp.ones((side, side), dtype or jnp.float32), device)
        times = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            jax.block_until_ready(product(factor, factor))
            times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[1:])
