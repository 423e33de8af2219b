"""By how much does what changes no number beyond rounding change it? Trains digits for two epochs in each way, and
prints the table of docs/faults.md: `python tests/bits.py`."""

import functools
from collections.abc import Callable
from typing import get_args

import jax
import numpy as np

from jaxcompare.compat import jax as compat
from jaxcompare.config import DataConfig, EngineName, ExecutionConfig, ModelName, RunConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.measure.environment import describe_environment
from jaxcompare.measure.runtime import configure_jax
from jaxcompare.study.process import in_fresh_process
from jaxcompare.training import placement
from jaxcompare.training.fit import fit_seeds

Outcome = tuple[np.ndarray, np.ndarray]
"""The losses of a run's epochs, and all of its parameters in a row."""

USUAL = {"devices": 2, "engine": "chunk", "micro_batch": 8, "generator": "hash", "seeds": 1}
WAYS: dict[str, dict] = {
    "nothing: the same again": {},
    **{f"engine: {one}, not chunk": {"engine": one} for one in get_args(EngineName) if one != USUAL["engine"]},
    "devices: 1, not 2": {"devices": 1},
    "devices: 4, not 2": {"devices": 4},
    "seeds in the program: 2, not 1": {"seeds": 2},
    "devices: 8, not 2": {"devices": 8},
    "images of a micro-batch: 4, not 8": {"micro_batch": 4},
    "images of a micro-batch: 32 (the whole batch), not 8": {"micro_batch": 32},
    "dropout's generator: threefry, not hash": {"generator": "threefry"},
}


def train(model: ModelName, devices: int, engine: EngineName, micro_batch: int, generator: str, seeds: int) -> Outcome:
    """The first seed's, in this process, which starts JAX."""
    configure_jax()
    compat.set_cpu_devices(devices)
    placement.CPU_MICRO_BATCH_SIZES[model] = micro_batch
    data = DataConfig("digits", image_size=16)
    training = TrainingConfig(epochs=2, batch_size=32, dropout_generator=generator)
    config = RunConfig("jax", model, data, training, ExecutionConfig(engine, "device"))
    (record, *_), params = fit_seeds(config, load_dataset(data), range(training.seed, training.seed + seeds))
    assert record.execution["devices"] == devices
    first = [np.ravel(leaf[0]) for leaf in jax.tree.leaves(params)]
    return np.array(record.history.train_loss), np.concatenate(first)


def differences(one: Outcome, other: Outcome) -> list[str]:
    """The largest of each."""
    most = [np.abs(a - b).max() for a, b in zip(one, other, strict=True)]
    return [f"{value:.0e}" if value else "0" for value in most]


def main() -> None:
    models = get_args(ModelName)
    in_process: Callable[..., Outcome] = functools.partial(in_fresh_process, train)
    usual = {model: in_process(model, *USUAL.values()) for model in models}
    machine = in_fresh_process(describe_environment, "jax")
    print("| What is changed | CNN: loss | parameters | ViT: loss | parameters |\n| --- | --- | --- | --- | --- |")
    for way, changes in WAYS.items():
        found = [differences(usual[model], in_process(model, *(USUAL | changes).values())) for model in models]
        print(f"| {way} | {' | '.join(cell for row in found for cell in row)} |", flush=True)
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("jax", "jaxlib"))
    losses = " and ".join(f"{usual[model][0][-1]:.2f}" for model in models)
    print(
        f"\nLargest absolute differences after two epochs of digits, whose last losses are {losses}; {machine['cpu']}, "
        f"{versions}."
    )


if __name__ == "__main__":
    main()
