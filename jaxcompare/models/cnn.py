"""The recipe's CNN: three blocks of convolution, ReLU and max-pool, then two linear layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxcompare.models.convolution import ConvBlock, ConvLowering
from jaxcompare.models.layers import Linear
from jaxcompare.sizes import CHANNELS, HIDDEN


class CNN(nn.Module):
    """620,362 parameters at the recipe's sizes (32x32x3 images, 10 classes).

    Images of any size of at least 8x8 and any number of channels work; the first linear layer takes the size it finds.
    """

    num_classes: int
    lowering: ConvLowering
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "n h w c"], *, train: bool, first: int | Int[Array, ""] = 0
    ) -> tuple[Float[Array, "n {self.num_classes}"], dict[str, Array]]:
        """Logits, and the activations by layer name. `train` and `first` change nothing: this model has no
        dropout."""
        activations = {}
        x = jnp.asarray(images)
        for block, channels in enumerate(CHANNELS):
            x = ConvBlock(channels, self.lowering, self.dtype, name=f"conv_{block}")(x)
            activations[f"block_{block}"] = x
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(Linear(HIDDEN, self.dtype, name="hidden")(x))
        activations["hidden"] = x
        return Linear(self.num_classes, self.dtype, name="head")(x), activations
