"""The full comparison: both models, all the training images, one recipe.

Shows: parameter counts, why the two differ, training curves, accuracy and speed (figure 1, figure 3 as far as it goes).

    python experiments/full_comparison.py --preset quick     scikit-learn's digits, under 3 minutes on 2 CPU cores
    python experiments/full_comparison.py                    CIFAR-10, 20 epochs: under an hour on 2 CPU cores

What to expect is measured: the table in README.md is made from such a run.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import console
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, ModelName, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.data.datasets import Dataset
    from jaxcompare.records import RunRecord


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the CNN and the ViT under the recipe, and compare them."""

    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train, in this order."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    seeds: int = 1
    """Independent runs of each model, with seeds SEED, SEED+1, ..., trained in one program."""
    out: Path = Path("runs/full_comparison")
    """Folder for runs.jsonl, summary.json and figures/. Runs found there complete are not repeated."""
    preset: Literal["quick", "full"] = "full"
    """Defaults of all other flags: `full` is the recipe, `quick` the digits that come with scikit-learn, 15 epochs."""


PRESETS = {
    "full": Args(),
    "quick": Args(
        data=DataConfig(dataset="digits"),
        training=TrainingConfig(epochs=15),
        out=Path("runs/quick"),
        preset="quick",
    ),
}


def main(args: Args) -> None:
    console.check_models(args.models)
    seeds = console.seeds(args.training.seed, args.seeds)
    console.check_out(args.out)

    # From here on the imports are heavy.
    from rich.console import Console

    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.measure.environment import describe_environment
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training.execution import choose_execution

    configure_jax()
    screen = Console(highlight=False, soft_wrap=True)
    describe(screen, describe_environment("jax"), seeds)
    dataset = load_dataset(args.data)
    training_subset(dataset, args.data.train_size, args.training.seed)  # a size above the data's ends here
    execution, reason = choose_execution(args.execution, dataset.train, seeds=len(seeds), workers=args.data.workers)
    screen.print(f"[bold]Execution[/] {execution.precision}{f', {reason}' if reason else ''}")
    explain(screen, args, dataset)

    path, records, start = args.out / "runs.jsonl", [], time.perf_counter()
    for model in args.models:
        config = RunConfig("jax", model, args.data, args.training, execution)
        records += train(screen, config, seeds, dataset, path)
    screen.print(f"All runs: {time.perf_counter() - start:.1f} s, compilation and evaluation included")
    save_results(records, args.out)
    summarise(screen, records, args.out)
    for record in records:
        if record.status == "diverged":
            raise InputError(f"{record.config.model}: {record.message}; its record is kept in {path}")


def describe(screen: "Console", environment: dict, seeds: Sequence[int]) -> None:
    """Device, memory, versions, seeds; a warning where there is no GPU."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cpu = f"{environment['cpu']}, {environment['cpu_cores']} cores, {environment['memory_gib']} GiB"
    gpu = "" if environment["backend"] == "cpu" else f"{environment['devices']} x {environment['device']}, "
    screen.print(f"[bold]Machine[/]   {gpu}{cpu}")
    screen.print(f"[bold]Versions[/]  python {environment['python']}, {versions}")
    screen.print(f"[bold]Seed[/]      {', '.join(map(str, seeds))}")
    if environment["backend"] == "cpu":
        screen.print("[yellow]No GPU: this runs on the CPU. `python -m jaxcompare` says whether one could be used.[/]")


def explain(screen: "Console", args: Args, dataset: "Dataset") -> None:
    """Parameter counts and their ratio, and what each layer looks at and costs."""
    import jax
    import numpy as np
    from rich.table import Table

    from jaxcompare.measure.cost import layer_costs
    from jaxcompare.models import build_model
    from jaxcompare.report.tables import LABELS

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


def train(
    screen: "Console", config: RunConfig, seeds: Sequence[int], dataset: "Dataset", path: Path
) -> list["RunRecord"]:
    """The runs of one model, with a progress bar; their records are on disk after every epoch."""
    from jaxcompare.records import find_complete, save_records
    from jaxcompare.report.tables import LABELS
    from jaxcompare.training.fit import fit_seeds

    label, epochs = LABELS[config.model], config.training.epochs
    found = {seed: find_complete(path, config.with_seed(seed), dataset.fingerprint) for seed in seeds}
    for seed, record in found.items():
        if record:
            screen.print(f"{label} seed {seed}: complete in {path} since {record.started_at}; not repeated")
    missing = [seed for seed, record in found.items() if not record]
    records: list[RunRecord] = []
    if missing:
        batches = -(-(config.data.train_size or len(dataset.train)) // config.training.batch_size)
        with Training(screen, label, epochs, batches) as progress:

            def on_epoch(so_far: list["RunRecord"]) -> None:
                nonlocal records
                records = so_far
                save_records(path, records)
                progress.show_epoch(records)

            try:
                records, _ = fit_seeds(config, dataset, missing, on_epoch=on_epoch, on_step=progress.show_step)
            except KeyboardInterrupt:
                running = [r for r in records if r.status == "running"]
                message = "interrupted by the user"
                if running:
                    stopped = [dataclasses.replace(r, status="interrupted", message=message) for r in running]
                    save_records(path, stopped)
                    screen.print(f"{label}: the history so far is kept in {path}; the same command begins anew")
                raise
    for record in records:
        if record.status == "diverged":
            screen.print(f"[red]{label} seed {record.config.training.seed} stopped: {record.message}[/]")
    trained = {record.config.training.seed: record for record in records}
    return [found[seed] or trained[seed] for seed in seeds]


class Training:
    """The progress bar of one model's runs, and a line for each epoch."""

    def __init__(self, screen: "Console", label: str, epochs: int, batches: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, refresh_per_second=2)
        self._label, self._epochs, self._batches, self._epoch = label, epochs, batches, 0
        self._task = self._bar.add_task(f"{label} compiling", total=epochs * batches)

    def show_step(self, done: int) -> None:
        description = f"{self._label} epoch {self._epoch + 1}/{self._epochs}"
        self._bar.update(self._task, completed=self._epoch * self._batches + done, description=description)

    def show_epoch(self, records: Sequence["RunRecord"]) -> None:
        """Of several seeds, their mean."""
        from jaxcompare.report.tables import mean

        if not self._epoch:
            compile_time_s, compiled = records[0].compile_time_s, records[0].compiled
            self._bar.console.print(f"{self._label} compiled in {compile_time_s:.1f} s ({compiled} cache)")
        self._epoch += 1
        last = {name: mean(getattr(r.history, name)[-1] for r in records) for name in vars(records[0].history)}
        self._bar.console.print(
            f"{self._label} epoch {self._epoch:>{len(str(self._epochs))}}/{self._epochs}  "
            f"loss {last['train_loss']:.4f}  train {100 * last['train_accuracy']:5.2f} %  "
            f"test {100 * last['test_accuracy']:5.2f} %  {last['epoch_time_s'] * len(records):.1f} s"
        )

    def __enter__(self) -> "Training":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


def save_results(records: Sequence["RunRecord"], out: Path) -> None:
    """summary.json and the figures, from records alone."""
    from jaxcompare.records import write_atomically
    from jaxcompare.report.figures import complete_comparison, save_figure, training_curves
    from jaxcompare.report.tables import check_comparable, summarise

    check_comparable(records)
    write_atomically(out / "summary.json", json.dumps(summarise(records), indent=2, allow_nan=False) + "\n")
    save_figure(training_curves(records), out / "figures", "figure1_training")
    save_figure(complete_comparison(records), out / "figures", "figure3_comparison")


def summarise(screen: "Console", records: Sequence["RunRecord"], out: Path) -> None:
    """The printed summary."""
    from rich.table import Table

    from jaxcompare.report.tables import LABELS, by_model

    table = Table(title="Summary")
    for column in ("model", "best test accuracy", "final", "s/epoch (mean)", "compile, s", "status"):
        table.add_column(column, justify="left" if column in ("model", "status") else "right")
    for r in records:
        seed = f" seed {r.config.training.seed}" if len(records) > len(by_model(records)) else ""
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
    screen.print(f"Written: {out}/runs.jsonl, {out}/summary.json, {out}/figures/")


if __name__ == "__main__":
    console.run(Args, main, PRESETS)
