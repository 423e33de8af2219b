"""What the two networks learned: how alike their layers are, where they look, what they rely on, where they disagree.

    python experiments/representations.py --preset quick     scikit-learn's digits, trained first, under 3 minutes
    python experiments/representations.py --runs DIR         of a full comparison that kept its weights

Takes two seeds or more of both models, and the data set that they were trained on. Writes tidy frames as CSV,
study.json and pictures.npz; report.py makes figures and findings of them.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import console
import full_comparison
import guard
import training_runs
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, ModelName, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord

MODELS: tuple[ModelName, ...] = ("cnn", "vit")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare what trained networks have learned."""

    runs: Path | None = None
    """Folder of a finished full comparison with its weights, two seeds or more of both models. Their images are taken
    anew, from --data-dir. Not given: the runs are trained first, into OUT/runs/."""
    images: int | None = None
    """Test images used, 50 or more, drawn at random (not given: 10,000, or all there are). Measures that cost much
    take fewer of them: study.json says how many."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    keep: training_runs.Keep = dataclasses.field(default_factory=training_runs.Keep)
    seeds: int = 2
    """Of what is trained here, 2 or more: seeds SEED, SEED+1, ..."""
    out: Path = Path("runs/representations")
    """Folder for the frames (CSV), study.json and pictures.npz."""
    preset: Literal["quick", "full"] = "full"
    """Defaults of all other flags: `full` is the recipe, `quick` scikit-learn's digits at 16 pixels, 12 epochs in
    batches of 32."""


PRESETS = {
    "full": Args(),
    "quick": Args(
        data=console.DIGITS,
        training=TrainingConfig(epochs=12, batch_size=32),
        out=Path("runs/representations_quick"),
        preset="quick",
    ),
}


def main(args: Args) -> None:
    if not args.keep.keep_weights:
        raise InputError("--no-keep-weights: what is compared here are weights; leave it out")
    if args.runs is None and args.seeds < 2:
        raise InputError(f"--seeds: must be at least 2, to tell what is a seed's and what a model's, not {args.seeds}")
    if args.runs:
        check_runs_alone(args)
    console.check_out(args.out, "study.json", fresh=args.keep.fresh)

    # From here on the imports are heavy.
    from rich.console import Console

    from jaxcompare.data.datasets import load_dataset
    from jaxcompare.measure.environment import describe_environment, git_commit, process_peak_bytes
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.records import load_records
    from jaxcompare.representations.networks import check_runs, load_networks
    from jaxcompare.representations.study import count_images, run_study, save_study

    configure_jax(deterministic=args.execution.deterministic)
    screen = Console(highlight=False, soft_wrap=True)
    environment = describe_environment("jax")
    folder = args.runs or args.out / "runs"
    dataset = load_dataset(data_of(load_records(folder / "runs.jsonl"), args.data) if args.runs else args.data)
    images = count_images(dataset, args.images)
    if args.runs is None:
        if args.keep.fresh:
            console.move_aside(args.out)
        train(screen, args, dataset, folder)
    runs = check_runs(load_records(folder / "runs.jsonl"), dataset, folder)
    about: dict[str, Any] = {
        "runs": [
            {"model": r.config.model, "seed": r.config.training.seed, "epochs": r.config.training.epochs}
            | {"train_images": r.train_images, "git_commit": r.git_commit, "weights": r.execution["weights"]}
            for r in runs
        ],
        "dataset": dataset.title,
        "data_fingerprint": dataset.fingerprint,
        "git_commit": git_commit(),
    }
    if not args.keep.fresh and is_there(args.out, about, images):
        screen.print(f"The study of these runs is complete in {args.out}; not repeated", markup=False)
        return
    networks = load_networks(folder, runs, dataset)
    if args.runs and args.keep.fresh:
        console.move_aside(args.out)
    training_runs.describe(screen, environment, sorted({run.config.training.seed for run in runs}))
    start = time.perf_counter()
    study = run_study(networks, dataset, images, lambda name, s: screen.print(f"{name:<12} {s:6.1f} s"))
    used = about | {
        "environment": environment,
        "total_s": time.perf_counter() - start,
        "peak_bytes": process_peak_bytes(),
    }
    save_study(study, args.out, used)
    screen.print(f"{'all':<12} {used['total_s']:6.1f} s, at most {used['peak_bytes'] / 2**30:.1f} GiB")
    screen.print(f"Written: {args.out}/*.csv, study.json, pictures.npz", markup=False)
    screen.print(f"Next: python experiments/report.py {args.out}", markup=False)


def is_there(out: Path, about: dict[str, Any], images: int) -> bool:
    """Whether a folder holds the study of these runs, on as many images, by this source."""
    try:
        found = json.loads((out / "study.json").read_text())
    except (OSError, ValueError):
        return False
    return all(found.get(name) == value for name, value in about.items()) and found["images"]["predictions"] == images


def check_runs_alone(args: Args) -> None:
    """Refuse --runs of a folder without records, or beside what is then decided already."""
    if not (args.runs and (args.runs / "runs.jsonl").exists()):
        raise InputError(f"--runs {args.runs}: holds no runs.jsonl; give the folder that full_comparison.py wrote")
    if args.keep.fresh and args.out.resolve() in (args.runs.resolve(), *args.runs.resolve().parents):
        raise InputError(f"--fresh: would move the runs, which lie in --out {args.out}; give another --out")
    preset = PRESETS[args.preset]
    # Where images are is no part of what they are: configs that differ in it are equal.
    if dataclasses.replace(args, runs=None, images=None, out=preset.out, keep=preset.keep) != preset:
        raise InputError("--runs: these runs have their images and their recipe; beside it give --data-dir alone")


def data_of(records: Sequence["RunRecord"], asked: DataConfig) -> DataConfig:
    """The images that runs were trained on, which are now where they are asked for."""
    if not any(record.experiment == full_comparison.EXPERIMENT for record in records):
        raise InputError("--runs: holds no run of a full comparison; give the folder that full_comparison.py wrote")
    # Runs that went on without some images are studied without them.
    skipped = any(record.execution.get("skipped_images") for record in records)
    here = {"data_dir": asked.data_dir, "skip_bad_images": skipped}
    return dataclasses.replace(records[0].config.data, **here)


def train(screen: "Console", args: Args, dataset: "Dataset", folder: Path) -> None:
    """The runs that are to be studied, as the full comparison trains them."""
    from jaxcompare.training.execution import choose_execution

    seeds = console.seeds(args.training.seed, args.seeds)
    console.check_out(folder, "runs.jsonl")
    data = args.data.resolve(len(seeds))
    execution, _ = choose_execution(args.execution, dataset.train, seeds=len(seeds), workers=data.workers)
    configs = [RunConfig("jax", model, data, args.training, execution) for model in MODELS]
    path, experiment = folder / "runs.jsonl", full_comparison.EXPERIMENT
    training_runs.start_records(path, experiment, configs[0], dataset.fingerprint)
    records = [
        record
        for config in configs
        for record in training_runs.train(screen, experiment, config, seeds, dataset, path, args.keep)
    ]
    training_runs.check_converged(records, path)


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main, PRESETS)
