"""What does each way of executing a training step cost, beside PyTorch?

Shows: time per training image of both models under every engine and input, beside PyTorch on batches that are ready in
memory; the ratios; the share of the machine's matrix-product ceiling; several seeds in one program beside single runs;
compile time apart. And images per second of the host pipeline beside the recipe's own (PIL, one transform chain per
image), with 0 and 2 workers.

    python experiments/training_speed.py --dataset folder --data-dir DIR        about 20 minutes on 2 CPU cores
    python experiments/training_speed.py --precision tf32 --train-size 50000    on a GPU

On a GPU there are more cells: torch.compile, with and without CUDA graphs, and the recipe's own loop with two loader
workers. Every measurement has a fresh process, which runs one framework; repeats are interleaved, so that a machine
that drifts slows every side alike. Keep other work off the machine.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import console
from jaxcompare.cells import Cell, CellRecord, TorchEngine, TorchInput, load_cells, save_cells
from jaxcompare.config import (
    DataConfig,
    Engine,
    ExecutionConfig,
    InputError,
    InputPlace,
    ModelName,
    Precision,
    RunConfig,
    TrainingConfig,
)
from jaxcompare.records import load_lines, save_lines

if TYPE_CHECKING:
    from jaxcompare.data.datasets import Dataset

WARM_UP_EPOCHS = 1


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure every engine beside PyTorch, and the input pipelines."""

    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train."""
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=2000))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=3))
    precision: Precision = "float32"
    """Of both frameworks. `tf32` and `bfloat16` as in full_comparison.py."""
    seeds: int | None = None
    """Seeds of the cell that trains several in one program (not given: 4 on CPUs, 8 on GPUs)."""
    repeats: int = 3
    """Fresh processes per measurement, in turn. The first epoch of each is warm-up and not counted."""
    out: Path = Path("runs/training_speed")
    """Folder for cells.jsonl and inputs.jsonl. What is measured there already is not repeated."""


def build_grid(args: Args, gpu: bool) -> list[Cell]:
    """Every cell, in the order of a table: the best engine's single run stands before its several seeds."""
    jax_ways: list[tuple[Engine, InputPlace]] = [
        ("step", "host"),
        ("chunk", "host"),
        ("step", "device"),
        ("chunk", "device"),
        ("epoch", "device"),
    ]
    torch_ways: list[tuple[TorchEngine, TorchInput]] = [("eager", "memory")]
    on_gpus: list[tuple[TorchEngine, TorchInput]] = [
        ("compile", "memory"),
        ("cudagraphs", "memory"),
        ("eager", "recipe"),
    ]
    torch_ways += on_gpus if gpu else []
    cells = []
    for model in args.models:
        cells += [Cell("torch", model, engine, place, args.precision) for engine, place in torch_ways]
        cells += [Cell("jax", model, engine, place, args.precision) for engine, place in jax_ways]
        cells.append(Cell("jax", model, "epoch", "device", args.precision, args.seeds or (8 if gpu else 4)))
    return cells


def measure_cell(cell: Cell, repeat: int, args: Args, dataset: "Dataset") -> CellRecord:
    """One fresh process, one framework."""
    shared: dict[str, Any] = {
        "cell": cell,
        "repeat": repeat,
        "train_images": args.data.train_size or len(dataset.train),
        "image_size": args.data.image_size,
        "num_classes": len(dataset.class_names),
        "batch_size": args.training.batch_size,
        "seed": args.training.seed,
        "dataset_title": dataset.title,
        "data_fingerprint": dataset.fingerprint,
    }
    measured = measure_jax(cell, args, dataset) if cell.framework == "jax" else measure_torch(cell, args, dataset)
    times = measured.pop("times")
    counted = {"warm_up_time_s": times[:WARM_UP_EPOCHS], "epoch_time_s": times[WARM_UP_EPOCHS:]}
    return CellRecord(**shared, **measured, **counted)


def measure_jax(cell: Cell, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """The engine's epochs, compiled without a cache."""
    import jax.numpy as jnp

    from jaxcompare.measure.ceiling import measure_matmul_ceiling
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training.engines import MATMUL_PRECISION
    from jaxcompare.training.fit import fit_seeds

    configure_jax(cache=False)
    execution = ExecutionConfig(cast(Engine, cell.engine), cast(InputPlace, cell.input), precision=cell.precision)
    config = RunConfig("jax", cell.model, args.data, args.training, execution)
    records, _ = fit_seeds(config, dataset, console.seeds(args.training.seed, cell.seeds))
    for record in records:
        if record.status != "complete":
            raise InputError(f"{cell.title}, {cell.model}: {record.message}")
    first = records[0]
    dtype = jnp.dtype(jnp.bfloat16) if cell.precision == "bfloat16" else None
    return {
        "times": [cell.seeds * seconds for seconds in first.history.epoch_time_s],
        "compile_time_s": first.compile_time_s,
        "ceiling_flops_per_s": measure_matmul_ceiling(MATMUL_PRECISION[cell.precision], dtype),
        "execution": first.execution | {"input_wait_s": first.history.input_wait_s},
        "environment": first.environment,
        "git_commit": first.git_commit,
    }


def measure_torch(cell: Cell, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """The twin's epochs."""
    from jaxcompare.data.datasets import training_subset
    from jaxcompare.measure.environment import describe_environment, git_commit
    from jaxcompare.twin.speed import find_device, time_epochs

    subset = training_subset(dataset, args.data, args.training.seed)
    timing = time_epochs(cell, subset, args.training)
    return {
        "times": timing.epoch_time_s,
        "compile_time_s": None,
        "ceiling_flops_per_s": timing.ceiling_flops_per_s,
        "execution": timing.settings,
        "environment": describe_environment("torch", torch_device=find_device()),
        "git_commit": git_commit(),
    }


def measure_input(pipeline: str, workers: int, repeat: int, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """One process, one pipeline: images per second over a pass, after a pass of warm-up. No model is run."""
    import time

    from jaxcompare.data.datasets import training_subset
    from jaxcompare.data.host import HostLoader
    from jaxcompare.measure.environment import describe_environment, git_commit
    from jaxcompare.twin.recipe_input import build_recipe_loader

    dataset = training_subset(dataset, args.data, args.training.seed)
    split, size = dataset.train, args.training.batch_size
    if pipeline == "jaxcompare":
        loader = HostLoader(split, size, dataset.statistics, augment=True, shuffle=True, workers=workers)
        passes: list[Callable] = [lambda epoch=epoch: loader.epoch(epoch) for epoch in range(2)]
    else:
        recipe = build_recipe_loader(split, size, dataset.statistics, workers=workers)
        passes = [lambda: recipe] * 2
    marks = [time.perf_counter()]
    for batches in passes:
        for _ in batches():
            pass
        marks.append(time.perf_counter())
    return {
        "repeat": repeat,
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
    if args.seeds is not None and args.seeds < 2:
        raise InputError(
            f"--seeds: several in one program are beside single runs; must be at least 2, not {args.seeds}"
        )
    console.check_models(args.models)
    console.check_out(args.out)
    args = dataclasses.replace(args, data=args.data.resolve(1))
    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.report.speed import input_table, speed_table

    dataset = load_dataset(args.data)
    training_subset(dataset, args.data, args.training.seed)  # a size above the data's ends here
    # Evaluation is not what is measured here: a few test images will do.
    dataset = dataclasses.replace(dataset, test=dataset.test.head(args.training.batch_size))
    backend, torch_backend = (in_fresh_process(find) for find in (find_backend, find_torch_backend))
    if (backend == "cpu") != (torch_backend == "cpu"):
        raise InputError(
            f"JAX runs on {backend}, PyTorch on {torch_backend}: no comparison; install jax's CUDA build "
            '(pip install -e ".[cuda]"), or hide the GPU with CUDA_VISIBLE_DEVICES='
        )
    in_fresh_process(check_jax_precision, args.precision)
    cells, inputs = build_grid(args, gpu=backend != "cpu"), list(product((0, 2), ("jaxcompare", "recipe")))

    records, input_records = load_measured(args, dataset)
    check_one_commit(records, len(cells) * args.repeats)
    measured = {(record.cell, record.repeat) for record in records}
    inputs_measured = {(record["repeat"], record["workers"], record["pipeline"]) for record in input_records}
    for repeat in range(args.repeats):
        for cell in cells:
            if (cell, repeat) in measured:
                continue
            print(f"repeat {repeat + 1}/{args.repeats}: {cell.model} {cell.title}", flush=True)
            records.append(in_fresh_process(measure_cell, cell, repeat, args, dataset))
            save_cells(args.out / "cells.jsonl", records)
        for workers, pipeline in inputs:
            if (repeat, workers, pipeline) in inputs_measured:
                continue
            print(f"repeat {repeat + 1}/{args.repeats}: input {pipeline}, {workers} workers", flush=True)
            input_records.append(in_fresh_process(measure_input, pipeline, workers, repeat, args, dataset))
            save_lines(args.out / "inputs.jsonl", input_records)
    print(f"\n{speed_table(records).markdown()}\n\n{input_table(input_records).markdown()}")


def load_measured(args: Args, dataset: "Dataset") -> tuple[list[CellRecord], list[dict[str, Any]]]:
    """What an earlier, interrupted call of the same measurement left in --out.

    Raises:
        InputError: another measurement is there.
    """
    path = args.out / "cells.jsonl"
    records = load_cells(path) if path.exists() else []
    for record in records:
        for name, found, asked in (
            ("the images", record.data_fingerprint, dataset.fingerprint),
            ("--train-size", record.train_images, args.data.train_size or len(dataset.train)),
            ("--batch-size", record.batch_size, args.training.batch_size),
            ("--seed", record.seed, args.training.seed),
            ("--epochs", len(record.warm_up_time_s + record.epoch_time_s), args.training.epochs),
            ("--precision", record.cell.precision, args.precision),
        ):
            if found != asked:
                raise InputError(
                    f"--out {args.out}: holds another measurement, {name} is {found} there and {asked} here; give "
                    "another folder"
                )
    path = args.out / "inputs.jsonl"
    return records, load_lines(path, dict, "measurement of an input") if path.exists() else []


def check_one_commit(records: Sequence[CellRecord], wanted: int) -> None:
    """Refuse to go on with a measurement that another commit began: its cells could not stand beside the new ones."""
    from jaxcompare.measure.environment import git_commit

    for record in records if len(records) < wanted else ():
        if record.git_commit != git_commit():
            raise InputError(
                f"--out: holds a measurement begun at commit {record.git_commit}; this is {git_commit()}. Give another "
                "folder, or go back to that commit"
            )


def find_backend() -> str:
    """Where JAX runs."""
    import jax

    return jax.default_backend()


def find_torch_backend() -> str:
    """Where PyTorch runs."""
    from jaxcompare.twin.speed import find_device

    return find_device()


def check_jax_precision(precision: Precision) -> None:
    """Refuse a precision that the device lacks before anything is measured."""
    from jaxcompare.training.execution import check_precision

    check_precision(precision)


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Call `function` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


if __name__ == "__main__":
    console.run(Args, main)
