"""The recipe's Vision Transformer (Dosovitskiy et al., 2021) pre-norm, as PyTorch's encoder layer has it."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxcompare.compat.flax import draw_keys
from jaxcompare.compat.jax import keep_layout
from jaxcompare.config import DropoutGenerator
from jaxcompare.models.layers import Dropout, Linear, add_parameter, uniform
from jaxcompare.sizes import MLP_RATIO

ATTENTION = "attention"
"""Among a ViT's "intermediates": attention probabilities, (images, heads, queries, keys), of every layer in turn."""
LAYER_NORM_EPSILON = 1e-5
POSITION_STD = 0.02
DROPOUTS = ("self_attn/Dropout_0", "Dropout_0", "Dropout_1", "Dropout_2")
"""Of an encoder layer, as Flax names them: on attention probabilities, attention's output, the hidden layer and the
layer's output."""


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The exact GELU, x Phi(x) (Hendrycks and Gimpel, 2016). `jax.nn.gelu` computes it by erfc, slower on XLA:CPU."""
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def layer_norm(name: str, dtype: jnp.dtype | None) -> nn.LayerNorm:
    """Layer normalisation (Ba et al., 2016) with PyTorch's epsilon; its statistics are in at least float32."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, dtype=dtype, name=name)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2) with dropout on the attention probabilities."""

    heads: int
    dropout_rate: float
    dropout_generator: DropoutGenerator
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], key: Key[Array, ""] | None, first: int | Int[Array, ""] = 0
    ) -> Float[Array, "n t d"]:
        """`key` and `first`: dropout's."""
        n, tokens, width = x.shape
        head_width = width // self.heads
        # The query-key-value matrix is Xavier-uniform as one matrix (Glorot and Bengio, 2010, eq. 16).
        xavier = uniform(math.sqrt(6 / (width + 3 * width)))
        zeros = nn.initializers.zeros
        qkv = Linear(3 * width, self.dtype, kernel_init=xavier, bias_init=zeros, name="in_proj")(x)
        q, k, v = keep_layout(qkv.reshape(n, tokens, 3, self.heads, head_width).transpose(2, 0, 3, 1, 4))
        scores = jnp.einsum("nhqd,nhkd->nhqk", q, k) * head_width**-0.5
        # In at least float32: bfloat16 holds probabilities to two or three digits only.
        wide = jnp.promote_types(scores.dtype, jnp.float32)
        probabilities = jax.nn.softmax(scores.astype(wide), axis=-1).astype(scores.dtype)
        # Kept where a caller asks for "intermediates"; elsewhere nothing happens.
        self.sow("intermediates", ATTENTION, probabilities)
        probabilities = Dropout(self.dropout_rate, self.dropout_generator)(probabilities, key, first)
        mixed = jnp.einsum("nhqk,nhkd->nhqd", probabilities, v).swapaxes(1, 2).reshape(n, tokens, width)
        return Linear(width, self.dtype, bias_init=zeros, name="out_proj")(mixed)


class EncoderLayer(nn.Module):
    """PyTorch's `TransformerEncoderLayer(norm_first=True, activation="gelu")`, with its four dropouts."""

    heads: int
    dropout_rate: float
    dropout_generator: DropoutGenerator
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], keys: Key[Array, "4"] | None, first: int | Int[Array, ""] = 0
    ) -> Float[Array, "n t d"]:
        """`keys`: of the dropouts, as DROPOUTS has them; None in evaluation. `first`: see `keep_mask`."""
        key_of = [None] * len(DROPOUTS) if keys is None else keys

        def drop(y: Array, place: int) -> Array:
            return Dropout(self.dropout_rate, self.dropout_generator)(y, key_of[place], first)

        width = x.shape[-1]
        y = layer_norm("norm1", self.dtype)(x)
        attention = SelfAttention(self.heads, self.dropout_rate, self.dropout_generator, self.dtype, name="self_attn")
        x = x + drop(attention(y, key_of[0], first), 1)
        y = layer_norm("norm2", self.dtype)(x)
        y = drop(gelu(Linear(MLP_RATIO * width, self.dtype, name="linear1")(y)), 2)
        return x + drop(Linear(width, self.dtype, name="linear2")(y), 3)


class ViT(nn.Module):
    """809,354 parameters at the recipe's sizes (32x32x3 images, 10 classes, patch 4, width 128, 4 heads, 4 layers).

    The head reads the class token, which stands first.
    """

    num_classes: int
    patch: int
    width: int
    heads: int
    layers: int
    dropout_rate: float
    dropout_generator: DropoutGenerator
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "n h w c"], *, train: bool, first: int | Int[Array, ""] = 0
    ) -> tuple[Float[Array, "n {self.num_classes}"], dict[str, Array]]:
        """Logits, and the activations by layer name (tokens of every layer, class token first).

        Args:
            first: the place in the batch of the first of `images`, which decides their dropout masks.

        Raises:
            ValueError: `patch` does not divide the image's sides, or `heads` does not divide `width`.
        """
        n, h, w, c = images.shape
        if h % self.patch or w % self.patch:
            raise ValueError(f"image size {h}x{w} is not divisible by patch {self.patch}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")

        # A convolution whose stride is its kernel is a matrix product over non-overlapping patches, ordered
        # (row, column, channel) as the convolution's kernel is.
        rows, columns = h // self.patch, w // self.patch
        x = jnp.asarray(images).reshape(n, rows, self.patch, columns, self.patch, c).swapaxes(2, 3)
        x = x.reshape(n, rows * columns, self.patch * self.patch * c)
        x = Linear(self.width, self.dtype, name="patch_embed")(x)

        cls_token = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
        pos_embed = self.param("pos_embed", nn.initializers.normal(POSITION_STD), (1, rows * columns + 1, self.width))
        cls_token = add_parameter(jnp.zeros((n, 1, self.width), x.dtype), cls_token)
        x = keep_layout(add_parameter(jnp.concatenate([cls_token, x], axis=1), pos_embed))
        activations = {"embedding": x}

        # PyTorch builds its encoder by deep-copying one layer, so all layers start from identical values.
        layer = EncoderLayer(self.heads, self.dropout_rate, self.dropout_generator, self.dtype, parent=None)
        stack = self.param("layers", lambda key: init_stack(layer, self.layers, key, x))
        keys = [None] * self.layers
        if train:
            keys = draw_keys(jnp.stack([self.make_rng("dropout") for _ in keys]), DROPOUTS)
        for i in range(self.layers):
            # The layer is applied by itself, so what it sows is sown anew.
            kept = ["intermediates"] if self.is_mutable_collection("intermediates") else []
            x, sown = layer.apply({"params": stack[f"{i}"]}, x, keys[i], first, mutable=kept)
            x = keep_layout(jnp.asarray(x))
            if kept:
                self.sow("intermediates", ATTENTION, sown["intermediates"]["self_attn"][ATTENTION][0])
            activations[f"layer_{i}"] = x

        norm = layer_norm("norm", self.dtype)
        activations["norm"] = norm(x)
        # Of the class token alone: compiled, the others' is left out unless somebody asks for the activations.
        return Linear(self.num_classes, self.dtype, name="head")(norm(x[:, 0])), activations


def init_stack(layer: EncoderLayer, layers: int, key: Array, x: Array) -> dict[str, dict]:
    """Parameters of `layers` encoder layers, keyed "0", "1", ...: copies of one initialisation."""
    params = layer.init(key, x, None)["params"]
    return {f"{i}": jax.tree.map(jnp.copy, params) for i in range(layers)}
