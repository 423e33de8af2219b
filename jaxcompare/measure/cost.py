"""What a model costs by formula: parameters excepted, everything follows from the layer sizes.

A multiplication and an addition count as two floating-point operations (FLOP). Biases, activations, norms, softmax and
pooling are left out: together they are under 3% of either model.
"""

from typing import NamedTuple

from jaxcompare.config import InputError, ModelName
from jaxcompare.models.cnn import CHANNELS, HIDDEN
from jaxcompare.models.vit import MLP_RATIO


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


def layer_costs(
    model: ModelName,
    *,
    image_size: int = 32,
    channels: int = 3,
    num_classes: int = 10,
    patch: int = 4,
    width: int = 128,
    layers: int = 4,
) -> list[LayerCost]:
    """The layers of a model in order, the ViT's repeated ones taken together."""
    if model == "cnn":
        return _cnn_costs(image_size, channels, num_classes)
    if image_size % patch:
        raise InputError(f"image size {image_size} is not divisible by patch {patch}")
    return _vit_costs(image_size // patch, patch * patch * channels, num_classes, width, layers)


def flops_per_image(model: ModelName, **sizes: int) -> int:
    """Forward FLOP for one image."""
    return sum(cost.flops_per_image for cost in layer_costs(model, **sizes))


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


def _vit_costs(side: int, patch_values: int, num_classes: int, d: int, layers: int) -> list[LayerCost]:
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
