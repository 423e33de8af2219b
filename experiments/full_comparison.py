"""The full comparison: both models, all the training images, one recipe.

Shows: parameter counts, why the two differ, training curves, accuracy and speed (figure 1, figure 3 as far as it goes).

    python experiments/full_comparison.py --preset quick     scikit-learn's digits, under 3 minutes on 2 CPU cores
    python experiments/full_comparison.py                    CIFAR-10, 20 epochs: from half an hour on 2 CPU cores

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
import predictions
import training_runs
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, ModelName, RunConfig, TrainingConfig
from jaxcompare.records import Experiment, Prediction

EXPERIMENT: Experiment = "full_comparison"

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the CNN and the ViT under the recipe, and compare them."""

    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train, in this order."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    keep: training_runs.Keep = dataclasses.field(default_factory=training_runs.Keep)
    jobs: grid.Grid = dataclasses.field(default_factory=grid.Grid)
    cluster: hosts.Hosts = dataclasses.field(default_factory=hosts.Hosts)
    seeds: int = 1
    """Independent runs of each model, with seeds SEED, SEED+1, ..., trained in one program."""
    prediction: predictions.PredictionArgs = dataclasses.field(default_factory=predictions.PredictionArgs)
    out: Path = Path("runs/full_comparison")
    """Folder for runs.jsonl, summary.json and figures/. Runs found there complete are not repeated."""
    preset: Literal["quick", "full"] = "full"
    """Defaults of all other flags: `full` is the recipe, `quick` scikit-learn's digits at 16 pixels, 30 epochs in
    batches of 32."""


PRESETS = {
    "full": Args(),
    "quick": Args(
        data=console.DIGITS,
        training=TrainingConfig(epochs=30, batch_size=32),
        out=Path("runs/quick"),
        preset="quick",
    ),
}


def main(args: Args) -> None:
    console.check_models(args.models)
    seeds = console.seeds(args.training.seed, args.seeds)
    data = args.data.resolve(len(seeds))
    if args.prediction.predict and (args.jobs.executor or args.cluster.are_several):
        raise InputError("--predict: no job or process of several can ask; give --predict-more-accurate, ... instead")
    prediction = predictions.predict(args.prediction, args.models)
    configs = [RunConfig("jax", model, data, args.training) for model in args.models]
    names = list(grid.list_programs(args.jobs, configs, seeds))
    if (job := grid.begin(args, names, "runs.jsonl", show_merged, several=args.cluster.are_several)) is None:
        return
    args = hosts.begin(job, "runs.jsonl")
    console.check_out(args.out, "runs.jsonl", fresh=args.keep.fresh)

    # From here on the imports are heavy.
    from rich.console import Console

    from jaxcompare.data.datasets import load_dataset
    from jaxcompare.data.split import training_subset
    from jaxcompare.measure.environment import describe_environment
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.records import complete_runs
    from jaxcompare.training.execution import choose_execution

    configure_jax(deterministic=args.execution.deterministic)
    screen = Console(highlight=False, soft_wrap=True)
    (_, own), *_ = grid.choose_programs(args.jobs, configs, seeds)
    training_runs.describe(screen, describe_environment("jax"), own)
    dataset = load_dataset(data)
    training_subset(dataset, data, args.training.seed)  # a size above the data's ends here
    execution, reason = choose_execution(args.execution, dataset.train, seeds=len(own), workers=args.data.workers)
    screen.print(f"[bold]Execution[/] {execution.precision}{f', {reason}' if reason else ''}")
    explain(screen, args, dataset)

    path, records, start = args.out / "runs.jsonl", [], time.perf_counter()
    configs = [dataclasses.replace(config, execution=execution) for config in configs]
    keep, into = args.keep, args.jobs.merged_into(args.out, several=args.cluster.are_several)
    training_runs.start_records(path, EXPERIMENT, configs[0], dataset.fingerprint, fresh=keep.fresh, into=into)
    runs = {(EXPERIMENT, config.with_seed(seed), dataset.fingerprint) for config in configs for seed in seeds}
    for file in filter(None, (path, into)) if prediction else ():
        known = complete_runs(file)
        if any(known[run].prediction != prediction for run in runs & known.keys()):
            raise InputError(f"--predict: {file} holds complete runs of this comparison already; give another --out")
    programs = grid.choose_programs(args.jobs, configs, seeds)
    grid.take_complete(programs, EXPERIMENT, dataset.fingerprint, path, into)
    for config, own in programs:
        records += training_runs.train(screen, EXPERIMENT, config, own, dataset, path, keep, prediction)
    screen.print(f"This call: {time.perf_counter() - start:.1f} s, compilation and evaluation included")
    if not args.jobs.job:
        show(screen, records, args.out, prediction)
    training_runs.check_converged(records, path)


def show_merged(args: Args, names: Sequence[str]) -> None:
    """What the plain command would have shown, of the jobs' records."""
    from rich.console import Console

    if records := grid.merge_runs(args.out, names):
        prediction = predictions.predict(args.prediction, args.models)
        show(Console(highlight=False, soft_wrap=True), records, args.out, prediction)


def show(screen: "Console", records: Sequence["RunRecord"], out: Path, prediction: Prediction | None) -> None:
    """What is made of records, as files and printed."""
    save_results(records, out)
    summarise(screen, records, out)
    if prediction:
        predictions.show_score(screen, records, prediction)


def explain(screen: "Console", args: Args, dataset: "Dataset") -> None:
    """Parameter counts and their ratio, and what each layer looks at and costs."""
    import jax
    import numpy as np
    from rich.table import Table

    from jaxcompare.measure.cost import layer_costs
    from jaxcompare.models import build_model
    from jaxcompare.report.text import LABELS

    classes = len(dataset.class_names)
    images = np.zeros((1, *dataset.train.images.shape[1:]), np.float32)
    counts, costs = {}, {}
    for name in args.models:
        model = build_model(name, num_classes=classes)
        shapes = jax.eval_shape(lambda key, model=model: model.init(key, images, train=False), jax.random.key(0))
        counts[name] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        costs[name] = layer_costs(name, image_size=args.data.image_size, num_classes=classes)
    screen.print(
        "\n[bold]Parameters[/]  " + ", ".join(f"{LABELS[name]} {count:,}" for name, count in counts.items()), end=""
    )
    screen.print(f", ratio ViT/CNN {counts['vit'] / counts['cnn']:.3f}" if len(counts) > 1 else "")

    table = Table(title="Why they differ: what an output looks at, and what it costs (forward, one image)")
    for column, justify in (("model", "left"), ("layer", "left"), ("depends on", "right"), ("MFLOP", "right")):
        table.add_column(column, justify=justify)
    table.add_column("formula (multiply and add counted as two)")
    for name in args.models:
        for cost in costs[name]:
            share = f"{cost.positions} of {cost.of}"
            table.add_row(LABELS[name], cost.layer, share, f"{cost.flops_per_image / 1e6:.2f}", cost.formula)
        total = sum(cost.flops_per_image for cost in costs[name])
        table.add_row(LABELS[name], "[bold]all[/]", "", f"[bold]{total / 1e6:.1f}[/]", "", end_section=True)
    screen.print(table)


def save_results(records: Sequence["RunRecord"], out: Path) -> None:
    """summary.json and the figures, from records alone."""
    from jaxcompare.analysis.comparison import check_comparable
    from jaxcompare.analysis.outcome import summarise
    from jaxcompare.analysis.predictions import score_predictions
    from jaxcompare.lines import summary_json, write_atomically
    from jaxcompare.report.figure import save_figure
    from jaxcompare.report.run_figures import complete_comparison, training_curves
    from jaxcompare.run_frame import per_run, to_frame

    frame = to_frame(records)
    runs = per_run(frame)
    check_comparable(runs)
    summary = summarise(runs) | {"predictions": [dataclasses.asdict(score) for score in score_predictions(runs)]}
    write_atomically(out / "summary.json", summary_json(summary))
    save_figure(training_curves(frame), out / "figures", "figure1_training")
    save_figure(complete_comparison(frame), out / "figures", "figure3_comparison")


def summarise(screen: "Console", records: Sequence["RunRecord"], out: Path) -> None:
    """The printed summary."""
    from rich.table import Table

    from jaxcompare.report.text import LABELS

    table = Table(title="Summary")
    for column in ("model", "best test accuracy", "final", "s/epoch (median)", "compile, s", "status"):
        table.add_column(column, justify="left" if column in ("model", "status") else "right")
    for r in records:
        seed = f" seed {r.config.training.seed}" if len(records) > len({r.config.model for r in records}) else ""
        table.add_row(
            LABELS[r.config.model] + seed,
            f"{100 * r.best_test_accuracy:.2f} %",
            f"{100 * r.final_test_accuracy:.2f} %",
            f"{r.epoch_time_s:.2f}",
            f"{r.compile_time_s:.1f} ({r.compiled})",
            r.status,
        )
    screen.print(table)
    screen.print(
        "Best: of the best epoch, chosen on the test images. Compile: before the first epoch, in no epoch's time; "
        "warm: read from the cache."
    )
    screen.print(f"Written: {out}/runs.jsonl, {out}/summary.json, {out}/figures/", markup=False)


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main, PRESETS)
