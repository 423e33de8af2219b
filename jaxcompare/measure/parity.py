"""The parity gate's yardstick: what one model computes from shared weights and batches, and how far a side is from it.

The reference is PyTorch's in float64 (`torch_side.reference`); each timed side, in its own precision and by its own
compiler, computes the same and is held against it before its clock starts. Dropout is off on both sides: the two
frameworks draw different masks.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcompare.config import ModelName, Precision

T = TypeVar("T")
"""A batch, as a side takes it."""

STEPS = 10

TOLERANCES: dict[ModelName, dict[Precision, tuple[float, float, float]]] = {
    "cnn": {"float32": (1e-5, 5e-3, 1e-3), "tf32": (5e-3, 1e-1, 5e-3), "bfloat16": (5e-2, 3e-1, 2e-2)},
    "vit": {"float32": (1e-5, 1e-4, 1e-3), "tf32": (5e-3, 1e-2, 5e-3), "bfloat16": (5e-2, 1e-1, 2e-2)},
}
"""How far a side may be from float64: logits (share of the largest), gradients (relative norm, the worst parameter) and
losses of 10 AdamW steps (nats). float32's logits leave room for the order of summation, the CNN's gradients for ties in
max-pools (docs/numerics.md). On CIFAR-10 logits were off by 8e-4 in TF32 and 1.2e-2 in bfloat16, losses by 6e-4 and
1.2e-3; TF32's rounding was a CPU's, of the inputs of products to 10 bits."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a side computed."""

    logits: Float[np.ndarray, "n classes"]
    """Of the first batch, dropout off."""
    grads: Mapping[str, np.ndarray]
    """Of the first batch's mean loss, by parameter, in one framework's names and layout."""
    losses: Float[np.ndarray, " steps"]
    """Of each batch's AdamW step, before its update."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Weights, batches and what they come to in float64, in both frameworks' names and layouts."""

    images: Float[np.ndarray, "steps n h w 3"]
    """float32, normalised."""
    labels: Int[np.ndarray, "steps n"]
    pixels: UInt8[np.ndarray, "steps n h w 3"]
    """What `images` were made of, for a side whose steps make their batches."""
    draws: Int[np.ndarray, "3 steps n"]
    """By which: each crop's row and column in the padded image, and whether it is mirrored (1)."""
    params: dict[str, dict[str, np.ndarray]]
    """By framework, then parameter: float32."""
    outcome: dict[str, Outcome]
    """By framework: the same logits and losses, gradients under its names."""


@dataclasses.dataclass(frozen=True)
class Deviation:
    """How far a side is from the reference, in the units of TOLERANCES."""

    logits: float
    gradients: float
    losses: float

    def exceeds(self, model: ModelName, precision: Precision) -> list[str]:
        """What is farther off than a model in a precision may be, or nearer than it can be, in words; empty: the gate
        is passed."""
        found = zip(dataclasses.asdict(self).items(), TOLERANCES[model][precision], strict=True)
        # `not <=`, so that NaN exceeds.
        far = [f"{name} off by {value:.1e}, {most:.0e} allowed" for (name, value), most in found if not value <= most]
        if precision != "float32" and self.logits <= TOLERANCES[model]["float32"][0]:
            far.append(f"logits off by {self.logits:.1e} only, as in float32: nothing was rounded to {precision}")
        return far


def compute_outcome(
    batches: Sequence[T],
    differentiate: Callable[[T], tuple[np.ndarray, Mapping[str, np.ndarray]]],
    train: Callable[[T], float],
) -> Outcome:
    """What a side comes to.

    Args:
        differentiate: a batch's logits and gradients, with the weights as they are.
        train: one AdamW step on a batch; its loss before the update.
    """
    logits, grads = differentiate(batches[0])
    return Outcome(logits, grads, np.array([train(batch) for batch in batches]))


def measure_deviation(reference: Outcome, side: Outcome) -> Deviation:
    """Hold a side's outcome against the reference's."""
    logits = np.abs(side.logits - reference.logits).max() / np.abs(reference.logits).max()
    norms = {
        name: np.linalg.norm(side.grads[name] - grad) / np.linalg.norm(grad) for name, grad in reference.grads.items()
    }
    return Deviation(float(logits), float(max(norms.values())), float(np.abs(side.losses - reference.losses).max()))


def save_reference(path: Path, reference: Reference) -> None:
    """Write a reference as one .npz file."""
    arrays = {name: getattr(reference, name) for name in ("images", "labels", "pixels", "draws")}
    for framework, params in reference.params.items():
        outcome = reference.outcome[framework]
        arrays |= {"logits": outcome.logits, "losses": outcome.losses}
        arrays |= {f"{framework}:params:{name}": value for name, value in params.items()}
        arrays |= {f"{framework}:grads:{name}": value for name, value in outcome.grads.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_reference(path: Path) -> Reference:
    """Read what `save_reference` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}

    def of(framework: str, kind: str) -> dict[str, np.ndarray]:
        lead = f"{framework}:{kind}:"
        return {name.removeprefix(lead): value for name, value in arrays.items() if name.startswith(lead)}

    return Reference(
        arrays["images"],
        arrays["labels"],
        arrays["pixels"],
        arrays["draws"],
        {framework: of(framework, "params") for framework in ("jax", "torch")},
        {
            framework: Outcome(arrays["logits"], of(framework, "grads"), arrays["losses"])
            for framework in ("jax", "torch")
        },
    )
