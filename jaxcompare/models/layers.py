"""Layers that both models need, with PyTorch's default initialisation. Parameter names and layouts are Flax's."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxcompare.config import DropoutGenerator

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


def _mix(x: Array) -> Array:
    """Bijective avalanche on uint32: the low-bias function found by C. Wellons' hash prospector (2018, rev. 2022)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)


def hash_bits(key: Key[Array, ""], shape: Sequence[int], first: int | Int[Array, ""] = 0) -> Array:
    """Counter-based random uint32: element i is a keyed double avalanche of i, counted from example `first` on.

    About 20 integer operations per element, which XLA fuses into whatever consumes them, where `jax.random.bits` fills
    memory first. The key is itself derived by threefry. Holds for fewer than 2**32 elements.
    """
    low, high = jax.random.key_data(key).astype(jnp.uint32)[-2:]
    counter = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    begin = jnp.asarray(first, jnp.uint32) * jnp.uint32(math.prod(shape[1:]))
    return _mix(_mix(counter + (begin + low)) ^ high)


def threefry_bits(key: Key[Array, ""], shape: Sequence[int], first: int | Int[Array, ""] = 0) -> Array:
    """Random uint32 by JAX's own generator, of a key for each example, counted from `first` on."""
    keys = jax.vmap(lambda example: jax.random.fold_in(key, example))(first + jnp.arange(shape[0]))
    return jax.vmap(lambda key: jax.random.bits(key, shape[1:], jnp.uint32))(keys)


def keep_mask(
    key: Key[Array, ""],
    keep: float,
    shape: Sequence[int],
    generator: DropoutGenerator,
    first: int | Int[Array, ""] = 0,
) -> Bool[Array, "..."]:
    """Independent Bernoulli(keep) mask; the rate is exact to 2**-32.

    An example's part of it follows from the key and its place in the batch, `first` being that of the first here: a
    batch may be cut anywhere.
    """
    bits = (hash_bits if generator == "hash" else threefry_bits)(key, shape, first)
    return bits < jnp.uint32(min(round(keep * 2**32), 2**32 - 1))


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al., 2014): in training, zero with probability `rate`, scale by 1/(1-rate)."""

    rate: float
    generator: DropoutGenerator

    @nn.compact
    def __call__(
        self, x: Float[Array, "*shape"], key: Key[Array, ""] | None, first: int | Int[Array, ""] = 0
    ) -> Float[Array, "*shape"]:
        """Without a key, in evaluation, `x` as it is. `first`: see `keep_mask`."""
        if key is None or self.rate == 0:
            return x
        keep = 1 - self.rate
        return jnp.where(keep_mask(key, keep, x.shape, self.generator, first), x / keep, 0)
