"""Data efficiency: both models trained afresh on more and more images, several seeds each.

Shows: accuracy against the number of training images with intervals over seeds, accuracy against seconds of training
(figure 2), the difference between the models at each size, and between which sizes the lead changes, if it does.

    python experiments/data_efficiency.py --preset quick             scikit-learn's digits, minutes on 2 CPU cores
    python experiments/data_efficiency.py --sizes 1000 5000 10000    CIFAR-10, 5 seeds: 35 minutes on 2 CPU cores
    python experiments/data_efficiency.py                            the recipe's five sizes: hours on 2 CPU cores

What to expect is measured: see docs/accuracy.md.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import console
import grid
import guard
import hosts
import longer_runs
import training_runs
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, ModelName, RunConfig, TrainingConfig
from jaxcompare.records import Experiment

EXPERIMENT: Experiment = "data_efficiency"

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.analysis.data_efficiency import Sweep
    from jaxcompare.records import RunRecord


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the CNN and the ViT on subsets of several sizes, and compare what they make of the data."""

    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train."""
    sizes: tuple[int, ...] = (1000, 5000, 10000, 25000, 50000)
    """Numbers of training images."""
    budget: Literal["epochs", "steps"] = "epochs"
    """What every size gets the same of: EPOCHS passes over its images, as in the recipe, or optimiser steps, as many as
    EPOCHS passes over the largest size take, so that less data is not fewer steps too."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=10))
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    keep: training_runs.Keep = dataclasses.field(default_factory=training_runs.Keep)
    jobs: grid.Grid = dataclasses.field(default_factory=grid.Grid)
    cluster: hosts.Hosts = dataclasses.field(default_factory=hosts.Hosts)
    seeds: int = 5
    """Independent runs of each model and size, with seeds SEED, SEED+1, ... Below 2 there are no intervals."""
    reuse: tuple[Path, ...] = ()
    """Folders with longer runs, such as full_comparison.py's OUT: where one has a run's recipe and seed, its first
    EPOCHS epochs are taken instead of trained, without weights. At a constant learning rate they are the same, up to
    rounding where other seeds share a program."""
    out: Path = Path("runs/data_efficiency")
    """Folder for runs.jsonl, summary.json and figures/. Runs found there complete are not repeated."""
    preset: Literal["quick", "full"] = "full"
    """Defaults of all other flags: `full` is the recipe, `quick` the digits that come with scikit-learn, 3 sizes."""


PRESETS = {
    "full": Args(),
    "quick": Args(
        sizes=(100, 400, 1400),
        data=console.DIGITS,
        training=TrainingConfig(epochs=8, batch_size=32),
        seeds=3,
        out=Path("runs/quick_data_efficiency"),
        preset="quick",
    ),
}


def build_configs(args: Args) -> list[RunConfig]:
    """What to run, sizes ascending; each config is one program of all seeds. Execution is not chosen yet."""
    data = [dataclasses.replace(args.data, train_size=size).resolve(args.seeds) for size in sorted(args.sizes)]
    epoch_images = max(args.sizes) if args.budget == "steps" else None
    return [
        RunConfig("jax", model, of_size, args.training, epoch_images=epoch_images)
        for of_size in data
        for model in args.models
    ]


def check_sizes(args: Args, available: int | None = None) -> None:
    """Refuse sizes that are no list of sizes, or above the number of training images."""
    if args.data.train_size is not None:
        raise InputError("--train-size: this experiment trains on several sizes; give --sizes")
    if not args.sizes or len(set(args.sizes)) < len(args.sizes) or min(args.sizes) < 1:
        raise InputError("--sizes: give each size once, at least 1, for example --sizes 1000 5000")
    if available is not None and max(args.sizes) > available:
        raise InputError(
            f"--sizes: {max(args.sizes)} is more than the {available} training images; give at most {available}"
        )


def main(args: Args) -> None:
    console.check_models(args.models)
    check_sizes(args)
    longer_runs.check(args.reuse, several=args.cluster.are_several)
    seeds = console.seeds(args.training.seed, args.seeds)
    names = list(grid.list_programs(args.jobs, build_configs(args), seeds))
    if (job := grid.begin(args, names, "runs.jsonl", show_merged, several=args.cluster.are_several)) is None:
        return
    args = hosts.begin(job, "runs.jsonl")
    console.check_out(args.out, "runs.jsonl", fresh=args.keep.fresh)

    # From here on the imports are heavy.
    from rich.console import Console

    from jaxcompare.data.datasets import load_dataset
    from jaxcompare.measure.environment import describe_environment
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training.execution import choose_execution

    configure_jax(deterministic=args.execution.deterministic)
    screen = Console(highlight=False, soft_wrap=True)
    (_, own), *_ = grid.choose_programs(args.jobs, build_configs(args), seeds)
    training_runs.describe(screen, describe_environment("jax"), own)
    dataset = load_dataset(args.data)
    check_sizes(args, len(dataset.train))
    execution, reason = choose_execution(args.execution, dataset.train, seeds=len(own), workers=args.data.workers)
    screen.print(f"[bold]Execution[/] {execution.precision}{f', {reason}' if reason else ''}\n")

    path, records, start = args.out / "runs.jsonl", [], time.perf_counter()
    configs = [dataclasses.replace(config, execution=execution) for config in build_configs(args)]
    keep, images = args.keep, dataset.fingerprint
    into = args.jobs.merged_into(args.out, several=args.cluster.are_several)
    training_runs.start_records(path, EXPERIMENT, configs[0], images, "train_size", fresh=keep.fresh, into=into)
    programs = grid.choose_programs(args.jobs, configs, seeds)
    grid.take_complete(programs, EXPERIMENT, images, path, into)
    longer_runs.take(screen, args.reuse, path, EXPERIMENT, programs, dataset)
    for number, (config, own) in enumerate(programs, 1):
        screen.print(f"[bold]{number} of {len(programs)}[/]")
        records += training_runs.train(screen, EXPERIMENT, config, own, dataset, path, keep)
    screen.print(f"This call: {time.perf_counter() - start:.1f} s, compilation and evaluation included\n")
    if not args.jobs.job:
        show(screen, records, args.out)
    training_runs.check_converged(records, path)


def show_merged(args: Args, names: Sequence[str]) -> None:
    """What the plain command would have shown, of the jobs' records."""
    from rich.console import Console

    if records := grid.merge_runs(args.out, names):
        show(Console(highlight=False, soft_wrap=True), records, args.out)


def save_results(records: Sequence["RunRecord"], out: Path) -> "Sweep":
    """summary.json and figure 2, from records alone."""
    from jaxcompare.analysis.data_efficiency import build_sweep, summarise_sweep
    from jaxcompare.lines import summary_json, write_atomically
    from jaxcompare.report.figure import save_figure
    from jaxcompare.report.run_figures import data_efficiency
    from jaxcompare.run_frame import per_run, to_frame

    sweep = build_sweep(per_run(to_frame(records)))
    write_atomically(out / "summary.json", summary_json(summarise_sweep(sweep)))
    save_figure(data_efficiency(sweep.analyses["best"]), out / "figures", "figure2_data_efficiency")
    return sweep


def show(screen: "Console", records: Sequence["RunRecord"], out: Path) -> None:
    """What is made of records, as files and printed: accuracies and differences by size, and where the lead changes."""
    from jaxcompare.report.crossover_words import describe_crossover
    from jaxcompare.report.run_tables import efficiency_table

    sweep = save_results(records, out)
    for efficiency in sweep.analyses.values():
        console.show_table(screen, efficiency_table(efficiency), "right")
        screen.print(describe_crossover(efficiency) + "\n")
    screen.print(f"Written: {out}/runs.jsonl, {out}/summary.json, {out}/figures/", markup=False)


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main, PRESETS)
