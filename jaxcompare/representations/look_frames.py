"""Where the networks look, as frames: attention, receptive fields, and how faithful maps of single images are."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jaxcompare.models.cnn import CNN
from jaxcompare.representations.attention import mean_attention_distance, rollout_maps
from jaxcompare.representations.forward import layers_of
from jaxcompare.representations.networks import Network
from jaxcompare.representations.receptive_field import effective_field, theoretical_field
from jaxcompare.representations.saliency import deletion, grad_cam, gradient_maps

Images = Float[np.ndarray, "n h w c"]


def attention_frame(networks: Sequence[Network], images: Images) -> pd.DataFrame:
    """`attention`, a row a head of each ViT."""
    rows = []
    for network in networks:
        if network.model != "vit":
            continue
        found = mean_attention_distance(network.module, network.params, images)
        for (layer, head), pixels in np.ndenumerate(found.pixels):
            share = found.class_share[layer, head]
            rows.append({**network.ids, "layer": layer, "head": head, "pixels": pixels, "class_share": share})
    return pd.DataFrame(rows)


def field_frame(networks: Sequence[Network], images: Images) -> pd.DataFrame:
    """`fields`, a row a layer that has places. Of a layer whose centre unit is dead there is no row."""
    rows: list[dict[str, Any]] = []
    for network in networks:
        module, params = network.module, network.params
        shapes = jax.eval_shape(lambda params, some, module=module: layers_of(module, params, some), params, images[:1])
        for layer in (name for name, shape in shapes.items() if shape.ndim >= 3):
            theory = theoretical_field(int(layer[-1])).size if network.model == "cnn" else None
            if field := effective_field(module, params, images, layer):
                rows.append({**network.ids, "layer": layer, "width": field.width, "theoretical": theory})
    return pd.DataFrame(rows, columns=["model", "seed", "trained", "layer", "width", "theoretical"])


def _maps(network: Network, images: Images, predicted: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    module, params = network.module, network.params
    if isinstance(module, CNN):
        return {"Grad-CAM": grad_cam(module, params, images, predicted)}
    return {"rollout": rollout_maps(module, params, images)}


def deletion_frame(
    networks: Sequence[Network], images: Images, predictions: dict[str, Int[np.ndarray, " n"]]
) -> pd.DataFrame:
    """`deletion`, mean probabilities over the images as the pixels go that a map marks first, beside those that another
    image's map marks (as coarse, as much at the centre, and of another thing) and in random order."""
    frames = []
    for network in networks:
        module, params, predicted = network.module, network.params, predictions[network.name][: len(images)]
        maps = _maps(network, images, predicted) | {"gradient": gradient_maps(module, params, images, predicted)}
        random = deletion(module, params, images, np.zeros(images.shape[:3]))
        for name, values in maps.items():
            found, other = (deletion(module, params, images, of) for of in (values, np.roll(values, 1, axis=0)))
            curves = {"by_map": found, "by_other": other, "at_random": random}
            means = {column: curve.probability.mean(axis=0) for column, curve in curves.items()}
            ids = {"model": network.model, "seed": network.seed, "map": name}
            frames.append(pd.DataFrame({**ids, "fraction": found.fractions, **means}))
    return pd.concat(frames, ignore_index=True)


def chosen_maps(
    cnn: Network,
    vit: Network,
    pixels: Images,
    images: Images,
    labels: Int[np.ndarray, " n"],
    predictions: dict[str, Int[np.ndarray, " n"]],
) -> dict[str, np.ndarray]:
    """The first image that both have right, that the CNN alone, the ViT alone and neither has, where there is one, with
    each network's map of its own prediction. `outcome` counts these four from 0.
    """
    right = {network.name: predictions[network.name] == labels for network in (cnn, vit)}
    outcomes = 3 - 2 * right[cnn.name] - right[vit.name]
    found = {outcome: int(np.argmax(outcomes == outcome)) for outcome in range(4) if (outcomes == outcome).any()}
    rows = list(found.values())
    arrays = {"outcome": np.array(list(found)), "images": pixels[rows], "labels": labels[rows]}
    for network in (cnn, vit):
        predicted = predictions[network.name][rows]
        (values,) = _maps(network, images[rows], predicted).values()
        arrays |= {f"{network.model}_maps": values, f"{network.model}_predictions": predicted}
    return arrays
