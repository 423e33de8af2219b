"""The full comparison: both models, all the training images, one recipe.

Shows: parameter counts, why the two differ, training curves, accuracy and speed (figure 1, figure 3 as far as it goes).

    python experiments/full_comparison.py --preset quick     scikit-learn's digits, under 3 minutes on 2 CPU cores
    python experiments/full_comparison.py                    CIFAR-10, 20 epochs: under an hour on 2 CPU cores

What to expect is measured: the table in README.md is made from such a run.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import console
from jaxcompare.config import DataConfig, InputError, ModelName, RunConfig, TrainingConfig

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
    if not args.models or len(set(args.models)) < len(args.models):
        raise InputError("--models: give each model once, for example --models cnn vit")
    console.check_out(args.out)

    # From here on the imports are heavy.
    from rich.console import Console

    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.measure.environment import describe_environment

    screen = Console(highlight=False, soft_wrap=True)
    describe(screen, describe_environment("jax"), args)
    dataset = load_dataset(args.data)
    training_subset(dataset, args.data.train_size, args.training.seed)  # a size above the data's ends here
    explain(screen, args, dataset)

    path = args.out / "runs.jsonl"
    records = [train(screen, RunConfig("jax", model, args.data, args.training), dataset, path) for model in args.models]
    save_results(records, args.out)
    summarise(screen, records, args.out)
    for record in records:
        if record.status == "diverged":
            raise InputError(f"{record.config.model}: {record.message}; its record is kept in {path}")


def describe(screen: "Console", environment: dict, args: Args) -> None:
    """Device, memory, versions, seed; a warning where there is no GPU."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cpu = f"{environment['cpu']}, {environment['cpu_cores']} cores, {environment['memory_gib']} GiB"
    gpu = "" if environment["backend"] == "cpu" else f"{environment['devices']} x {environment['device']}, "
    screen.print(f"[bold]Machine[/]   {gpu}{cpu}")
    screen.print(f"[bold]Versions[/]  python {environment['python']}, {versions}")
    screen.print(f"[bold]Seed[/]      {args.training.seed}")
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


def train(screen: "Console", config: RunConfig, dataset: "Dataset", path: Path) -> "RunRecord":
    """One run with a progress bar; its record is on disk after every epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from jaxcompare.records import find_complete, save_record
    from jaxcompare.report.tables import LABELS
    from jaxcompare.training.fit import fit

    label, epochs = LABELS[config.model], config.training.epochs
    if record := find_complete(path, config, dataset.fingerprint):
        screen.print(f"{label}: complete in {path} since {record.started_at}; not repeated")
        return record

    batches = -(-(config.data.train_size or len(dataset.train)) // config.training.batch_size)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"))
    last: RunRecord | None = None
    with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, refresh_per_second=2) as progress:
        task = progress.add_task(f"{label} compiling", total=epochs * batches)

        def on_step(done: int) -> None:
            epoch = len(last.history.train_loss) if last else 0
            description = f"{label} epoch {epoch + 1}/{epochs}"
            progress.update(task, completed=epoch * batches + done, description=description)

        def on_epoch(record: "RunRecord") -> None:
            nonlocal last
            last = record
            save_record(path, record)
            h = record.history
            progress.console.print(
                f"{label} epoch {len(h.train_loss):>{len(str(epochs))}}/{epochs}  loss {h.train_loss[-1]:.4f}  "
                f"train {100 * h.train_accuracy[-1]:5.2f} %  test {100 * h.test_accuracy[-1]:5.2f} %  "
                f"{h.epoch_time_s[-1]:.1f} s"
            )

        try:
            record, _ = fit(config, dataset, on_epoch=on_epoch, on_step=on_step)
        except KeyboardInterrupt:
            if last:
                save_record(path, dataclasses.replace(last, status="interrupted", message="interrupted by the user"))
                screen.print(f"{label}: the history so far is kept in {path}; the same command begins this run again")
            raise
    if record.status == "diverged":
        screen.print(f"[red]{label} stopped: {record.message}[/]")
    return record


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

    from jaxcompare.report.tables import LABELS

    table = Table(title="Summary")
    for column in ("model", "best test accuracy", "final", "s/epoch (mean)", "compile, s", "status"):
        table.add_column(column, justify="left" if column in ("model", "status") else "right")
    for r in records:
        table.add_row(
            LABELS[r.config.model],
            f"{100 * r.best_test_accuracy:.2f} %",
            f"{100 * r.final_test_accuracy:.2f} %",
            f"{r.epoch_time_s:.2f}",
            f"{r.compile_time_s:.1f}",
            r.status,
        )
    screen.print(table)
    screen.print(
        "Best: of the best epoch, chosen on the test images. Compile: before the first epoch, in no epoch's time."
    )
    screen.print(f"Written: {out}/runs.jsonl, {out}/summary.json, {out}/figures/")


if __name__ == "__main__":
    console.run(Args, main, PRESETS)
