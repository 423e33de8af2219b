"""Layers as frames: how alike they are, whether a measure finds them again, and what can be read off them."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jaxcompare.representations.forward import pooled_features
from jaxcompare.representations.networks import Network
from jaxcompare.representations.probes import probe_layers
from jaxcompare.representations.similarity import identified_layers, minibatch_cka, mutual_neighbours

NEIGHBOURS = 10


def similarity_frames(networks: Sequence[Network], images: Float[np.ndarray, "n h w c"]) -> dict[str, pd.DataFrame]:
    """`similarity`, every layer of every network against every other, by both measures; `identification`."""
    by_name = {network.name: network for network in networks}
    # The class token alone is no layer of its own: left out, so that both measures compare the same layers.
    features = {
        name: {layer: x for layer, x in pooled_features(n.module, n.params, images).items() if "/" not in layer}
        for name, n in by_name.items()
    }
    found = {
        "cka": minibatch_cka({name: (n.module, n.params) for name, n in by_name.items()}, images),
        "neighbours": mutual_neighbours(features, k=min(NEIGHBOURS, len(images) - 1)),
    }
    rows: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    for measure, similarity in found.items():
        for (i, (name, layer)), (j, (other, other_layer)) in itertools.product(enumerate(similarity.layers), repeat=2):
            others = {f"other_{key}": value for key, value in by_name[other].ids.items()}
            row = {"measure": measure, **by_name[name].ids, "layer": layer, **others, "other_layer": other_layer}
            rows.append(row | {"value": similarity.values[i, j]})
        for one, other in itertools.combinations([n for n in networks if n.trained], 2):
            if one.model == other.model:
                block = similarity.block(one.name, other.name)
                share = {"share": identified_layers(block), "chance": 1 / len(block)}
                shares.append(
                    {"measure": measure, "model": one.model, "seed": one.seed, "other_seed": other.seed} | share
                )
    return {"similarity": pd.DataFrame(rows), "identification": pd.DataFrame(shares)}


def probe_frame(
    networks: Sequence[Network], images: Float[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"]
) -> pd.DataFrame:
    """`probes`, fitted on the first half of the images and tested on the second: no network was trained on either."""
    half = len(images) // 2
    rows = []
    for network in networks:
        features = pooled_features(network.module, network.params, images)
        probes = probe_layers(
            {layer: x[:half] for layer, x in features.items()},
            labels[:half],
            {layer: x[half:] for layer, x in features.items()},
            labels[half:],
        )
        rows += [{**network.ids, "layer": layer, **probe._asdict()} for layer, probe in probes.items()]
    return pd.DataFrame(rows)
