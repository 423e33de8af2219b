"""What engines and loops train where the model is not what is tested: it compiles in a tenth of the time."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcompare.models.layers import Dropout, Linear
from jaxcompare.sizes import DROPOUT_RATE


class Toy(nn.Module):
    """Two layers with dropout between them."""

    num_classes: int
    dropout_rate: float

    @nn.compact
    def __call__(self, images, *, train, first=0):
        x = Linear(16, None, name="hidden")(jnp.asarray(images).reshape(len(images), -1))
        key = self.make_rng("dropout") if train else None
        x = Dropout(self.dropout_rate, "hash")(jax.nn.relu(x), key, first)
        return Linear(self.num_classes, None, name="head")(x), {}


def build_toy(name="toy", *, num_classes=10, dropout_rate=DROPOUT_RATE, **_):
    """As `models.build_model`, whatever the name."""
    return Toy(num_classes, dropout_rate)
