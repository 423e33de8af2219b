"""The 3x3 convolution, three ways for XLA to run it, and the 2x2 max-pool. Images are NHWC, kernels HWIO."""

import functools
import operator
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcompare.models.layers import add_parameter, cast, fan_in_uniform, matmul

ConvLowering = Literal["direct", "im2col", "winograd"]


@jax.custom_vjp
def patches_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h w 9*c"]:
    """The 3x3 neighbourhood of every pixel, zero-padded, ordered (row, column, channel) along the last axis."""
    _, h, w, _ = x.shape
    # The barriers stop XLA:CPU from fusing the padding into the concatenation, or the concatenation into its users,
    # either of which turns block copies into element-wise index arithmetic. Copies along rows first make longer blocks.
    padded = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    rows = jax.lax.optimization_barrier(jnp.concatenate([padded[:, :, j : j + w] for j in range(3)], axis=-1))
    return jax.lax.optimization_barrier(jnp.concatenate([rows[:, i : i + h] for i in range(3)], axis=-1))


def _patches_3x3_backward(x: Array, g: Array) -> tuple[Array]:
    n, h, w, c = x.shape
    g = g.reshape(n, h, w, 3, 3, c)
    zero = jnp.zeros((), g.dtype)
    shifted = (
        jax.lax.pad(g[:, :, :, i, j], zero, ((0, 0, 0), (i - 1, 1 - i, 0), (j - 1, 1 - j, 0), (0, 0, 0)))
        for i in range(3)
        for j in range(3)
    )
    return (sum(shifted, start=jnp.zeros_like(x)),)


patches_3x3.defvjp(lambda x: (patches_3x3(x), x), _patches_3x3_backward)


def _quarters(x: Array) -> tuple[Array, Array, Array, Array]:
    """The four pixels of every 2x2 window, in row-major order."""
    return x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]


def _from_quarters(quarters: Sequence[Array]) -> Array:
    """The image that `_quarters` takes apart."""
    n, h, w, c = quarters[0].shape
    rows = [jnp.stack(quarters[:2], axis=3), jnp.stack(quarters[2:], axis=3)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, c)


# F(2x2, 3x3) of Lavin and Gray (2016, "Fast algorithms for convolutional neural networks", section 4.1): their B^T, G
# and A^T. 2x2 pixels of output take 16 products instead of 36.
_TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def _transform(matrix: np.ndarray, tile: Sequence[Sequence[Array]]) -> list[Array]:
    """matrix @ tile @ matrix.T in row-major order, for a tile whose elements are arrays."""

    def combine(row: np.ndarray, arrays: Sequence[Array]) -> Array:
        return functools.reduce(operator.add, (float(w) * x for w, x in zip(row, arrays, strict=True) if w))

    columns = [[combine(row, column) for column in zip(*tile, strict=True)] for row in matrix]
    return [combine(row, line) for line in columns for row in matrix]


def _rows(arrays: Sequence[Array], size: int) -> list[Sequence[Array]]:
    """Arrays in row-major order, as a square of `size` rows."""
    return [arrays[i * size : (i + 1) * size] for i in range(size)]


def _stack(arrays: Sequence[Array]) -> Float[Array, "16 rows c"]:
    """Written out: the products read them often, and XLA:CPU would compute them each time."""
    return jax.lax.optimization_barrier(jnp.stack([x.reshape(-1, x.shape[-1]) for x in arrays]))


def _winograd_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    n, h, w, _ = x.shape
    padded = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    tile = [[padded[:, i : i + h - 1 : 2, j : j + w - 1 : 2] for j in range(4)] for i in range(4)]
    tiles, kernels = _stack(_transform(_TILE, tile)), _stack(_transform(_KERNEL, [*map(list, kernel)]))
    products = jax.lax.optimization_barrier(tiles @ kernels)
    products = products.reshape(16, n, h // 2, w // 2, -1)
    return _from_quarters(_transform(_OUTPUT, _rows(products, 4))), (tiles, kernels)


def _winograd_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    tiles, kernels = residuals
    n, h, w, _ = g.shape
    grads = _stack(_transform(_OUTPUT.T, _rows(_quarters(g), 2)))
    kernel_grads = jax.lax.optimization_barrier(jnp.einsum("trc,trf->tcf", tiles, grads))
    kernel_grad = jnp.stack(_transform(_KERNEL.T, _rows(kernel_grads, 4))).reshape(3, 3, *kernel_grads.shape[1:])
    tile_grads = jax.lax.optimization_barrier(jnp.einsum("trf,tcf->trc", grads, kernels))
    tile = _rows(_transform(_TILE.T, _rows(tile_grads.reshape(16, n, h // 2, w // 2, -1), 4)), 4)

    def moved(i: int, down: int, j: int, right: int) -> Array:
        zero = jnp.zeros((), g.dtype)
        return jax.lax.pad(tile[i][j], zero, ((0, 0, 0), (down, -down, 0), (right, -right, 0), (0, 0, 0)))

    # Tiles overlap by two pixels: a pixel of the image is in the tile whose output it belongs to, and in a neighbour's.
    sides = (((1, 0), (3, 1)), ((2, 0), (0, -1)))
    quarters = [
        functools.reduce(operator.add, (moved(*row, *column) for row in rows for column in columns))
        for rows in sides
        for columns in sides
    ]
    return _from_quarters(quarters), kernel_grad


@jax.custom_vjp
def _winograd_even(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n h w d"]:
    return _winograd_forward(x, kernel)[0]


_winograd_even.defvjp(_winograd_forward, _winograd_backward)


def winograd(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n h w d"]:
    """The convolution by Winograd's minimal filtering, F(2x2, 3x3): fewer products, between sums of pixels."""
    _, h, w, _ = x.shape
    even = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    return _winograd_even(even, kernel)[:, :h, :w]


def im2col(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n h w d"]:
    """The convolution as one matrix product over gathered patches."""
    fan_in, features = kernel.size // kernel.shape[-1], kernel.shape[-1]
    flat = matmul(patches_3x3(x).reshape(-1, fan_in), kernel.reshape(fan_in, features))
    return flat.reshape(*x.shape[:3], features)


def direct(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n h w d"]:
    """XLA's own convolution."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


WINOGRAD_CHANNELS = 16
"""With fewer of them, sums of pixels cost more than the products that they save."""


@jax.custom_vjp
def max_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """2x2 max-pool, stride 2; an odd last row or column is dropped. As in PyTorch, the first of equal maxima in a
    window takes the whole gradient.

    Four strided slices, not `nn.max_pool`: its backward pass scatters, which is slow on XLA:CPU.
    """
    _, h, w, _ = x.shape
    a, b, c, d = _quarters(x[:, : h // 2 * 2, : w // 2 * 2])
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _max_pool_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array]:
    x, y = residuals
    _, h, w, _ = x.shape
    taken = jnp.zeros(y.shape, bool)
    grads = []
    for quarter in _quarters(x[:, : h // 2 * 2, : w // 2 * 2]):
        winner = (quarter == y) & ~taken
        taken = taken | winner
        grads.append(jnp.where(winner, g, 0))
    return (jnp.pad(_from_quarters(grads), ((0, 0), (0, h % 2), (0, w % 2), (0, 0))),)


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = max_pool_2x2(x)
    return y, (x, y)


max_pool_2x2.defvjp(_max_pool_forward, _max_pool_backward)


class ConvBlock(nn.Module):
    """3x3 convolution (stride 1, zero padding 1, bias), ReLU and 2x2 max-pool, computed in `dtype`.

    `lowering` chooses how XLA sees it; parameters are the same and, up to rounding, the numbers. XLA:CPU is
    fastest with "winograd", which takes images of few channels by "im2col".
    """

    features: int
    lowering: ConvLowering
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 {self.features}"]:
        channels = x.shape[-1]
        init = fan_in_uniform(9 * channels)
        kernel = self.param("kernel", init, (3, 3, channels, self.features))
        bias = self.param("bias", init, (self.features,))
        x, kernel = cast(self.dtype, x, kernel)
        if self.lowering == "direct":
            convolve = direct
        else:
            convolve = winograd if self.lowering == "winograd" and channels >= WINOGRAD_CHANNELS else im2col
        # Bias and ReLU keep the order of numbers, so they may come after the maximum: on a quarter of them.
        return jax.nn.relu(add_parameter(max_pool_2x2(convolve(x, kernel)), bias))
