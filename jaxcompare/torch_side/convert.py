"""Weights between the models in Flax and in PyTorch, exactly, both ways."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcompare.config import ModelName
from jaxcompare.sizes import CHANNELS

Params = Mapping[str, Any]


class _Rule(NamedTuple):
    """One parameter: its path in Flax, its name in PyTorch, how it is laid out."""

    path: str
    name: str
    layout: str


def to_flax(model: ModelName, state_dict: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Flax parameters (NumPy) from a PyTorch state dict, in its dtype.

    Raises:
        ValueError: the state dict is not of this model; names what is missing or left over.
    """
    rules = list(_rules(model, _count_layers(state_dict)))
    _same_names({rule.name for rule in rules}, set(state_dict))
    flat = {}
    for rule in rules:
        value = state_dict[rule.name].detach().cpu().numpy()
        match rule.layout:
            case "linear":
                value = value.T
            case "conv":
                value = value.transpose(2, 3, 1, 0)
            case "patch":
                value = value.transpose(2, 3, 1, 0).reshape(-1, value.shape[0])
            case "flatten":
                value = value.reshape(-1, *_feature_map(value.shape[1])).transpose(2, 3, 1, 0)
                value = value.reshape(-1, value.shape[-1])
        flat[tuple(rule.path.split("/"))] = np.ascontiguousarray(value)
    return unflatten_dict(flat)


def to_torch(model: ModelName, params: Params) -> dict[str, torch.Tensor]:
    """A PyTorch state dict from Flax parameters, in their dtype: the inverse of `to_flax`.

    Raises:
        ValueError: the parameters are not of this model; names what is missing or left over.
    """
    flat = {"/".join(path): np.asarray(value) for path, value in flatten_dict(dict(params)).items()}
    rules = list(_rules(model, len(params.get("layers", ()))))
    _same_names({rule.path for rule in rules}, set(flat))
    state_dict = {}
    for rule in rules:
        value = flat[rule.path]
        match rule.layout:
            case "linear":
                value = value.T
            case "conv":
                value = value.transpose(3, 2, 0, 1)
            case "patch":
                side = math.isqrt(value.shape[0] // 3)
                value = value.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
            case "flatten":
                channels, height, width = _feature_map(value.shape[0])
                value = value.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
                value = value.reshape(len(value), -1)
        state_dict[rule.name] = torch.from_numpy(value.copy())
    return state_dict


def _feature_map(features: int) -> tuple[int, int, int]:
    """Channels, rows and columns of the CNN's last feature map. PyTorch flattens it in that order, NHWC as (row,
    column, channel)."""
    side = math.isqrt(features // CHANNELS[-1])
    return CHANNELS[-1], side, side


def _count_layers(state_dict: Mapping[str, torch.Tensor]) -> int:
    return sum(name.endswith("linear1.weight") for name in state_dict)


def _rules(model: ModelName, layers: int) -> Iterator[_Rule]:
    def weight_and_bias(path: str, name: str, layout: str, kernel: str = "kernel") -> Iterator[_Rule]:
        yield _Rule(f"{path}/{kernel}", f"{name}.weight", layout)
        yield _Rule(f"{path}/bias", f"{name}.bias", "same")

    if model == "cnn":
        for block in range(len(CHANNELS)):
            yield from weight_and_bias(f"conv_{block}", f"features.{3 * block}", "conv")
        yield from weight_and_bias("hidden", "classifier.1", "flatten")
        yield from weight_and_bias("head", "classifier.3", "linear")
        return
    yield _Rule("cls_token", "cls_token", "same")
    yield _Rule("pos_embed", "pos_embed", "same")
    yield from weight_and_bias("patch_embed", "patch_embed", "patch")
    for i in range(layers):
        path, name = f"layers/{i}", f"transformer.layers.{i}"
        yield _Rule(f"{path}/self_attn/in_proj/kernel", f"{name}.self_attn.in_proj_weight", "linear")
        yield _Rule(f"{path}/self_attn/in_proj/bias", f"{name}.self_attn.in_proj_bias", "same")
        yield from weight_and_bias(f"{path}/self_attn/out_proj", f"{name}.self_attn.out_proj", "linear")
        for linear in ("linear1", "linear2"):
            yield from weight_and_bias(f"{path}/{linear}", f"{name}.{linear}", "linear")
        for norm in ("norm1", "norm2"):
            yield from weight_and_bias(f"{path}/{norm}", f"{name}.{norm}", "same", kernel="scale")
    yield from weight_and_bias("norm", "norm", "same", kernel="scale")
    yield from weight_and_bias("head", "head", "linear")


def _same_names(expected: set[str], found: set[str]) -> None:
    if expected != found:
        missing, extra = sorted(expected - found), sorted(found - expected)
        raise ValueError(f"parameters of another model: missing {missing[:3]}, left over {extra[:3]}")
