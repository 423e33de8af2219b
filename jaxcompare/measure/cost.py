"""What a model costs by formula: parameters excepted, everything follows from the layer sizes.

A multiplication and an addition count as two floating-point operations (FLOP). Biases, activations, norms, softmax and
pooling are left out; multiplications by a convolution's zero padding are counted, as convolutions lowered to matrix
products do them.

XLA's count of a compiled forward pass (`cost_analysis()["flops"]`, convolutions lowered directly) has it the other way
round. CNN: 19.51 MFLOP an image where the formulas have 21.70; padding makes up -2.35, biases, ReLU and pooling +0.16.
ViT: 113.64 where they have 111.68, the 1.8 % more being biases, norms, GELU and softmax.
"""

from typing import NamedTuple

from jaxcompare.config import ModelName
from jaxcompare.models.cnn import CHANNELS, HIDDEN
from jaxcompare.models.vit import LAYERS, MLP_RATIO, PATCH, WIDTH


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


def layer_costs(model: ModelName, *, image_size: int = 32, num_classes: int = 10) -> list[LayerCost]:
    """The layers of the recipe's CNN or ViT in order, the ViT's repeated ones taken together."""
    if model == "cnn":
        return _cnn_costs(image_size, 3, num_classes)
    return _vit_costs(image_size // PATCH, num_classes)


def _cnn_costs(side: int, d_in: int, num_classes: int) -> list[LayerCost]:
    costs = []
    for block, d_out in enumerate(CHANNELS, 1):
        flops = 2 * 9 * d_in * d_out * side**2
        costs.append(LayerCost(f"3x3 convolution {block}", 9, side**2, flops, "2 · 9 · Cin · Cout · H · W"))
        side, d_in = side // 2, d_out
    flat = side**2 * d_in
    costs.append(LayerCost("linear 1", side**2, side**2, 2 * flat * HIDDEN, "2 · H · W · C · D"))
    costs.append(LayerCost("linear 2", 1, 1, 2 * HIDDEN * num_classes, "2 · D · classes"))
    return costs


def _vit_costs(side: int, num_classes: int) -> list[LayerCost]:
    d, layers, patch_values = WIDTH, LAYERS, PATCH * PATCH * 3
    patches, tokens = side**2, side**2 + 1
    projections = layers * 2 * tokens * d * 4 * d
    attention = layers * 2 * 2 * tokens**2 * d
    mlp = layers * 2 * 2 * tokens * d * MLP_RATIO * d
    return [
        LayerCost("patch embedding", 1, patches, 2 * patches * patch_values * d, "2 · P · (p · p · C) · D"),
        LayerCost(f"{layers} x query, key, value, output", 1, tokens, projections, "L · 8 · T · D²"),
        LayerCost(f"{layers} x softmax(QKᵀ/√d) V", tokens, tokens, attention, "L · 4 · T² · D"),
        LayerCost(f"{layers} x MLP", 1, tokens, mlp, f"L · {4 * MLP_RATIO} · T · D²"),
        LayerCost("head", 1, tokens, 2 * d * num_classes, "2 · D · classes"),
    ]
