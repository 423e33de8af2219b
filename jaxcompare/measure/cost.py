"""What a model costs by formula: parameters excepted, everything follows from the layer sizes.

A multiplication and an addition count as two floating-point operations (FLOP). Biases, activations, norms, softmax and
pooling are left out; multiplications by a convolution's zero padding are counted, as convolutions lowered to matrix
products do them. A layer's backward pass multiplies twice as much as its forward pass, once for the gradient of its
weights and once for that of its input; the first layer's input, the images, needs none.

XLA's count of a compiled pass (`compat.program_costs`, dropout off, convolutions lowered directly) has it the
other way round: products with padding are left out, the rest is in. CNN, forward: 19.51 MFLOP an image where the
formulas have 21.70 (-10.1 %); padding makes up -2.35, biases, ReLU and pooling +0.16. CNN, forward and backward: 57.04
where they have 63.32 (-9.9 %), for the same reason. ViT: 113.4 where they have 111.7, and 340.4 where they have 334.2
(+1.6 and +1.9 %), the more being biases, norms, GELU and softmax.

Bytes are the least that has to move in float32, were every layer one kernel and no cache to keep anything from one
layer to the next: forward, each layer reads its input and writes its output; backward, it reads its output's gradient
and its input, and writes its input's gradient. Parameters are read in both passes, their gradients written; AdamW then
reads parameters, gradients and both moments and writes all but the gradients: ten times a parameter's 4 bytes a step.
"""

from typing import NamedTuple

from jaxcompare.config import ModelName
from jaxcompare.sizes import CHANNELS, HIDDEN, LAYERS, MLP_RATIO, PATCH, WIDTH

FLOAT32_BYTES = 4


class LayerCost(NamedTuple):
    """One kind of layer."""

    layer: str
    positions: int
    """Positions of its input that one output position depends on."""
    of: int
    """Positions that its input has."""
    flops_per_image: int
    """Forward pass."""
    formula: str
    """The same, in symbols."""
    values_in: int
    """Numbers of an image that it reads."""
    values_out: int
    """Numbers of an image that it writes."""
    weights: int
    """Its trainable parameters, those of the norm before it included."""


def layer_costs(model: ModelName, *, image_size: int = 32, num_classes: int = 10) -> list[LayerCost]:
    """The layers of the recipe's CNN or ViT in order, the ViT's repeated ones taken together."""
    if model == "cnn":
        return _cnn_costs(image_size, 3, num_classes)
    return _vit_costs(image_size // PATCH, num_classes)


def training_flops(layers: list[LayerCost]) -> int:
    """Of an image's forward and backward pass."""
    return 3 * sum(layer.flops_per_image for layer in layers) - layers[0].flops_per_image


def training_bytes(layers: list[LayerCost], batch_size: int) -> float:
    """Of an image's share of a training step, at the least."""
    values = sum(3 * layer.values_in + 2 * layer.values_out for layer in layers) - layers[0].values_in
    return FLOAT32_BYTES * (values + 10 * sum(layer.weights for layer in layers) / batch_size)


def _cnn_costs(side: int, d_in: int, num_classes: int) -> list[LayerCost]:
    costs = []
    for block, d_out in enumerate(CHANNELS, 1):
        flops, pixels = 2 * 9 * d_in * d_out * side**2, side**2
        sizes = (pixels * d_in, pixels * d_out, 9 * d_in * d_out + d_out)
        costs.append(LayerCost(f"3x3 convolution {block}", 9, pixels, flops, "2 · 9 · Cin · Cout · H · W", *sizes))
        side, d_in = side // 2, d_out
    flat = side**2 * d_in
    sizes = (flat, HIDDEN, flat * HIDDEN + HIDDEN)
    costs.append(LayerCost("linear 1", side**2, side**2, 2 * flat * HIDDEN, "2 · H · W · C · D", *sizes))
    sizes = (HIDDEN, num_classes, HIDDEN * num_classes + num_classes)
    costs.append(LayerCost("linear 2", 1, 1, 2 * HIDDEN * num_classes, "2 · D · classes", *sizes))
    return costs


def _vit_costs(side: int, num_classes: int) -> list[LayerCost]:
    d, layers, patch_values = WIDTH, LAYERS, PATCH * PATCH * 3
    patches, tokens = side**2, side**2 + 1
    values, norm = tokens * d, 2 * d
    projections = layers * 2 * tokens * d * 4 * d
    attention = layers * 2 * 2 * tokens**2 * d
    mlp = layers * 2 * 2 * tokens * d * MLP_RATIO * d
    embedding_weights = patch_values * d + d + d + tokens * d  # kernel, bias, class token, positions
    projection_weights = layers * (4 * d * d + 4 * d + norm)
    mlp_weights = layers * (2 * MLP_RATIO * d * d + MLP_RATIO * d + d + norm)
    hidden = layers * (1 + MLP_RATIO) * values
    return [
        LayerCost(
            "patch embedding",
            1,
            patches,
            2 * patches * patch_values * d,
            "2 · P · (p · p · C) · D",
            patches * patch_values,
            patches * d,
            embedding_weights,
        ),
        LayerCost(
            f"{layers} x query, key, value, output",
            1,
            tokens,
            projections,
            "L · 8 · T · D²",
            layers * 2 * values,
            layers * 4 * values,
            projection_weights,
        ),
        LayerCost(
            f"{layers} x softmax(QKᵀ/√d) V",
            tokens,
            tokens,
            attention,
            "L · 4 · T² · D",
            layers * 3 * values,
            layers * values,
            0,
        ),
        LayerCost(f"{layers} x MLP", 1, tokens, mlp, f"L · {4 * MLP_RATIO} · T · D²", hidden, hidden, mlp_weights),
        LayerCost(
            "head",
            1,
            tokens,
            2 * d * num_classes,
            "2 · D · classes",
            d,
            num_classes,
            norm + d * num_classes + num_classes,
        ),
    ]
