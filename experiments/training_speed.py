"""How fast is a training epoch in JAX, beside PyTorch eager; and how fast is the input pipeline, beside the recipe's?

Shows: seconds per epoch of both models in both frameworks on the same batches, and their ratio; images per second of
the host pipeline and of the recipe's own (PIL, one transform chain per image), with 0 and 2 workers.

    python experiments/training_speed.py --dataset folder --data-dir DIR

About 8 minutes on 2 CPU cores with `--epochs 2`, and twice that at the defaults. Every measurement has a fresh
process, which runs one framework; repeats are interleaved, so that a machine that drifts slows every side alike. Keep
other work off the machine.
"""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import console
from jaxcompare.config import DataConfig, Framework, InputError, ModelName, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from jaxcompare.data.datasets import Dataset

WARM_UP_EPOCHS = 1


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure training epochs in JAX and PyTorch, and the input pipelines."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=5000))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=4))
    repeats: int = 3
    """Fresh processes per measurement, in turn. The first epoch of each is warm-up and not counted."""
    out: Path = Path("runs/training_speed")
    """Folder for cells.jsonl, written anew."""


def measure_epochs(framework: Framework, model: ModelName, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """One process, one run: seconds of each epoch after warm-up."""
    if framework == "jax":
        from jaxcompare.training.fit import fit
    else:
        from jaxcompare.twin.fit import fit
    # Evaluation is not what is measured here: a few test images will do.
    dataset = dataclasses.replace(dataset, test=dataset.test.head(128))
    record, _ = fit(RunConfig(framework, model, args.data, args.training), dataset)
    if record.status != "complete":
        raise InputError(f"{framework} {model}: {record.message}")
    return {
        "cell": "epoch",
        "framework": framework,
        "model": model,
        "train_images": record.train_images,
        "batch_size": args.training.batch_size,
        "epoch_time_s": record.history.epoch_time_s[WARM_UP_EPOCHS:],
        "compile_time_s": record.compile_time_s,
        "dataset": record.dataset_title,
        "execution": record.execution,
        "environment": record.environment,
        "git_commit": record.git_commit,
    }


def measure_input(pipeline: str, workers: int, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """One process, one pipeline: images per second over a pass, after a pass of warm-up. No model is run."""
    import time

    from jaxcompare.data.host import HostLoader
    from jaxcompare.measure.environment import describe_environment, git_commit
    from jaxcompare.twin.recipe_input import build_recipe_loader

    split, size = dataset.train, args.training.batch_size
    if pipeline == "jaxcompare":
        loader = HostLoader(split, size, dataset.statistics, augment=True, shuffle=True, workers=workers)
        passes = [lambda epoch=epoch: loader.epoch(epoch) for epoch in range(2)]
    else:
        recipe = build_recipe_loader(split, size, dataset.statistics, workers=workers)
        passes = [lambda: recipe] * 2
    marks = [time.perf_counter()]
    for batches in passes:
        for _ in batches():
            pass
        marks.append(time.perf_counter())
    return {
        "cell": "input",
        "pipeline": pipeline,
        "workers": workers,
        "images": len(split),
        "images_per_s": len(split) / (marks[-1] - marks[-2]),
        "environment": describe_environment("torch"),
        "git_commit": git_commit(),
    }


def main(args: Args) -> None:
    if args.repeats < 1:
        raise InputError(f"--repeats: must be at least 1, not {args.repeats}")
    if args.training.epochs <= WARM_UP_EPOCHS:
        raise InputError(f"--epochs: must be more than {WARM_UP_EPOCHS}: the first is warm-up")
    console.check_out(args.out)
    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.records import write_atomically
    from jaxcompare.report.tables import speed_tables

    dataset = load_dataset(args.data)
    subset = training_subset(dataset, args.data.train_size, args.training.seed)
    jobs: list[tuple[str, Callable, tuple]] = []
    for model, framework in product(get_args(ModelName), get_args(Framework)):
        jobs.append((f"{model} {framework}", measure_epochs, (framework, model, args, dataset)))
    for workers, pipeline in product((0, 2), ("jaxcompare", "recipe")):
        jobs.append((f"input {pipeline} {workers} workers", measure_input, (pipeline, workers, args, subset)))

    cells = []
    for repeat, (name, measure, arguments) in product(range(args.repeats), jobs):
        print(f"repeat {repeat + 1}/{args.repeats}: {name}", flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            cells.append({"repeat": repeat} | fresh.submit(measure, *arguments).result())
        write_atomically(args.out / "cells.jsonl", "".join(json.dumps(cell) + "\n" for cell in cells))
    print("\n" + speed_tables(cells))


if __name__ == "__main__":
    console.run(Args, main)
