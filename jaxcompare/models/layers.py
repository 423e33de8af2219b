"""Layers that both models need, with PyTorch's default initialisation.

Images are NHWC throughout. Parameter names and layouts are Flax's: `kernel` is (in, out) for Linear and
(height, width, in, out) for Conv.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxcompare.config import DropoutGenerator

ConvLowering = Literal["direct", "im2col"]
Initialiser = Callable[..., Array]


def uniform(bound: float) -> Initialiser:
    """Initialiser drawing from U(-bound, bound)."""

    def init(key: Key[Array, ""], shape: Sequence[int], dtype: jnp.dtype | None = None) -> Array:
        return jax.random.uniform(key, shape, dtype or jnp.zeros(()).dtype, -bound, bound)

    return init


def fan_in_uniform(fan_in: int) -> Initialiser:
    """PyTorch's default for weights and biases of Linear and Conv2d: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    return uniform(1 / math.sqrt(fan_in))


def cast(dtype: jnp.dtype | None, *arrays: Array) -> tuple[Array, ...]:
    """Arrays in the dtype that a model computes in; None leaves them in that of their parameters."""
    return arrays if dtype is None else tuple(array.astype(dtype) for array in arrays)


@jax.custom_vjp
def matmul(x: Float[Array, "n d_in"], kernel: Float[Array, "d_in d_out"]) -> Float[Array, "n d_out"]:
    """x @ kernel, with a gradient for the kernel that XLA:CPU computes at full speed.

    XLA:CPU multiplies x^T g, a sum over rows, at about half its speed where x is wider than g. There the gradient is
    the transpose of g^T x, with the narrow g^T written out first.
    """
    return x @ kernel


def _matmul_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    (rows, d_in), d_out = x.shape, g.shape[1]

    def as_it_is(x: Array, g: Array) -> Array:
        return x.T @ g

    def by_the_narrow_side(x: Array, g: Array) -> Array:
        # The barriers keep XLA from turning this back into x^T g.
        return jax.lax.optimization_barrier(jax.lax.optimization_barrier(g.T) @ x).T

    cpu = by_the_narrow_side if d_in > d_out and rows > d_out else as_it_is
    return g @ kernel.T, jax.lax.platform_dependent(x, g, cpu=cpu, default=as_it_is)


matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), _matmul_backward)


def add_parameter(x: Float[Array, "*batch d"], parameter: Float[Array, "*shape"]) -> Float[Array, "*batch d"]:
    """x + parameter, broadcast, in x's dtype; the parameter's gradient, a sum over the batch, in the parameter's."""
    wide = jnp.promote_types(x.dtype, parameter.dtype)
    parameter = jnp.expand_dims(parameter, range(x.ndim - parameter.ndim))
    return (x.astype(wide) + parameter).astype(x.dtype)


class Linear(nn.Module):
    """y = x W + b over the last axis, computed in `dtype`.

    `kernel_init` and `bias_init` default to PyTorch's `nn.Linear`.
    """

    features: int
    dtype: jnp.dtype | None
    kernel_init: Initialiser | None = None
    bias_init: Initialiser | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d_in"]) -> Float[Array, "*batch d_out"]:
        fan_in = x.shape[-1]
        default = fan_in_uniform(fan_in)
        kernel = self.param("kernel", self.kernel_init or default, (fan_in, self.features))
        bias = self.param("bias", self.bias_init or default, (self.features,))
        x, kernel = cast(self.dtype, x, kernel)
        return add_parameter(matmul(x.reshape(-1, fan_in), kernel).reshape(*x.shape[:-1], self.features), bias)


@jax.custom_vjp
def patches_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h w 9*c"]:
    """The 3x3 neighbourhood of every pixel, zero-padded, ordered (row, column, channel) along the last axis."""
    _, h, w, _ = x.shape
    # The barriers stop XLA:CPU from fusing the padding into the concatenation, or the concatenation into its users,
    # either of which turns nine block copies into element-wise index arithmetic.
    padded = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    shifts = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jax.lax.optimization_barrier(jnp.concatenate(shifts, axis=-1))


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


class Conv3x3(nn.Module):
    """3x3 convolution, stride 1, zero padding 1, with bias, computed in `dtype`.

    `lowering` chooses how XLA sees it: "direct" is one convolution; "im2col" a matrix product over gathered patches,
    with the same parameters and, up to rounding, the same numbers. XLA:CPU runs the second faster.
    """

    features: int
    lowering: ConvLowering
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w {self.features}"]:
        fan_in = 9 * x.shape[-1]
        init = fan_in_uniform(fan_in)
        kernel = self.param("kernel", init, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        x, kernel = cast(self.dtype, x, kernel)
        if self.lowering == "im2col":
            columns = patches_3x3(x)
            flat = matmul(columns.reshape(-1, fan_in), kernel.reshape(fan_in, self.features))
            return add_parameter(flat, bias).reshape(*x.shape[:3], self.features)
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)
        return add_parameter(y, bias)


def _quarters(x: Array) -> tuple[Array, Array, Array, Array]:
    """The four pixels of every 2x2 window, in row-major order."""
    return x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]


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
    n, h, w, c = x.shape
    taken = jnp.zeros(y.shape, bool)
    grads = []
    for quarter in _quarters(x[:, : h // 2 * 2, : w // 2 * 2]):
        winner = (quarter == y) & ~taken
        taken = taken | winner
        grads.append(jnp.where(winner, g, 0))
    rows = [jnp.stack(grads[:2], axis=3), jnp.stack(grads[2:], axis=3)]
    full = jnp.stack(rows, axis=2).reshape(n, h // 2 * 2, w // 2 * 2, c)
    return (jnp.pad(full, ((0, 0), (0, h % 2), (0, w % 2), (0, 0))),)


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = max_pool_2x2(x)
    return y, (x, y)


max_pool_2x2.defvjp(_max_pool_forward, _max_pool_backward)


def _mix(x: Array) -> Array:
    """Bijective avalanche on uint32: the low-bias function found by C. Wellons' hash prospector (2018, rev. 2022)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)


def hash_bits(key: Key[Array, ""], shape: Sequence[int]) -> Array:
    """Counter-based random uint32: element i is a keyed double avalanche of i.

    About 20 integer operations per element, which XLA fuses into whatever consumes them, where `jax.random.bits` fills
    memory first. The key is itself derived by threefry. Holds for fewer than 2**32 elements.
    """
    low, high = jax.random.key_data(key).astype(jnp.uint32)[-2:]
    counter = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _mix(_mix(counter + low) ^ high)


def keep_mask(
    key: Key[Array, ""], keep: float, shape: Sequence[int], generator: DropoutGenerator
) -> Bool[Array, "..."]:
    """Independent Bernoulli(keep) mask; the rate is exact to 2**-32."""
    bits = hash_bits(key, shape) if generator == "hash" else jax.random.bits(key, shape, jnp.uint32)
    return bits < jnp.uint32(min(round(keep * 2**32), 2**32 - 1))


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al., 2014): in training, zero with probability `rate`, scale by 1/(1-rate)."""

    rate: float
    generator: DropoutGenerator

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = keep_mask(self.make_rng("dropout"), keep, x.shape, self.generator)
        return jnp.where(mask, x / keep, 0)
