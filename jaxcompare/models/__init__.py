"""The two models. `build_model` is the only door."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcompare.config import DropoutGenerator, ModelName, choose
from jaxcompare.models.cnn import CNN
from jaxcompare.models.convolution import ConvLowering
from jaxcompare.models.vit import ViT
from jaxcompare.sizes import DROPOUT_RATE, HEADS, LAYERS, PATCH, WIDTH


def build_model(
    name: ModelName,
    *,
    num_classes: int = 10,
    patch: int = PATCH,
    width: int = WIDTH,
    heads: int = HEADS,
    layers: int = LAYERS,
    dropout_rate: float = DROPOUT_RATE,
    dropout_generator: DropoutGenerator = "hash",
    lowering: ConvLowering | None = None,
    dtype: jnp.dtype | None = None,
) -> nn.Module:
    """The CNN or the ViT. Both map NHWC float images to `(logits, activations)`; image size and channels are read off
    the images they are initialised with.

    Args:
        name: "cnn" or "vit".
        num_classes: number of logits.
        patch: side of the ViT's square patches, in pixels.
        width: the ViT's token width.
        heads: the ViT's attention heads.
        layers: the ViT's encoder layers.
        dropout_rate: the ViT's, at all four places of an encoder layer.
        dropout_generator: where the ViT's dropout masks come from.
        lowering: how the CNN's convolutions reach XLA; by default "direct", on CPU "winograd", which would round too
            much below float32: there "im2col".
        dtype: what the layers compute in, parameters staying as they are; None: the parameters' own.
    """
    choose("model", name, ModelName)
    if name == "cnn":
        on_cpu: ConvLowering = "winograd" if dtype is None else "im2col"
        return CNN(num_classes, lowering or (on_cpu if jax.default_backend() == "cpu" else "direct"), dtype)
    return ViT(num_classes, patch, width, heads, layers, dropout_rate, dropout_generator, dtype)
