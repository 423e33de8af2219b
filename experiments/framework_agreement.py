"""Do JAX and PyTorch learn equally well, and device-resident input as well as the host's? Several seeds, on a subset.

Shows: mean best test accuracy of both models in PyTorch, in JAX on the very same batches, and in JAX on batches drawn
on the device; and their differences with intervals. Initialisation and dropout come from each framework's own
generator, so seeds differ as seeds do.

    python experiments/framework_agreement.py --dataset folder --data-dir DIR
    python experiments/framework_agreement.py --models cnn --train-size None --epochs 20 --seeds 1 --out runs/whole

The first takes over an hour on 2 CPU cores (5,000 images, 10 epochs, 5 seeds). Expect differences of about a point, as
between seeds. Times in these records are of no use: nothing keeps other work off the machine.
"""

import dataclasses
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import console
import guard
import training_runs
from jaxcompare.config import DataConfig, ExecutionConfig, Framework, ModelName, RunConfig, TrainingConfig
from jaxcompare.records import Experiment, save_records

if TYPE_CHECKING:
    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord

EXPERIMENT: Experiment = "framework_agreement"
KINDS: tuple[tuple[Framework, ExecutionConfig], ...] = (
    ("jax", ExecutionConfig("chunk", "device")),
    ("jax", ExecutionConfig("step", "host")),
    ("torch", ExecutionConfig("step", "host")),
)


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the same runs in JAX, with host and with device input, and in PyTorch, and compare their accuracies."""

    models: tuple[ModelName, ...] = get_args(ModelName)
    """Which models to train."""
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=5000, subsets="independent"))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=10))
    seeds: int = 5
    """Runs of each kind and model, with seeds SEED, SEED+1, ..."""
    out: Path = Path("runs/framework_agreement")
    """Folder for runs.jsonl. Runs found there complete are not repeated."""
    fresh: bool = False
    """Move what OUT holds to a folder beside it, OUT.1 or the next that is free, and begin anew."""


def run_one(config: RunConfig, dataset: "Dataset", path: Path) -> None:
    """Train in this process, which imports one framework's loop only. A run of JAX goes on from its last checkpoint."""

    def keep(record: "RunRecord") -> None:
        save_records(path, [dataclasses.replace(record, experiment=EXPERIMENT)])

    if config.framework == "torch":
        from jaxcompare.torch_side.fit import fit

        fit(config, dataset, on_epoch=keep)
        return
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training.checkpoints import Checkpoints
    from jaxcompare.training.fit import fit_seeds

    configure_jax()
    seeds = [config.training.seed]
    checkpoints = Checkpoints(training_runs.checkpoints_of(path, config, seeds, dataset.fingerprint))
    fit_seeds(config, dataset, seeds, on_epoch=lambda records: keep(*records), checkpoints=checkpoints)
    checkpoints.remove()


def main(args: Args) -> None:
    console.check_models(args.models)
    seeds = console.seeds(args.training.seed, args.seeds)
    console.check_out(args.out, "runs.jsonl", fresh=args.fresh)
    from jaxcompare.data.datasets import load_dataset
    from jaxcompare.data.split import training_subset
    from jaxcompare.records import complete_runs, load_records
    from jaxcompare.report.run_tables import agreement_table
    from jaxcompare.run_frame import per_run, to_frame
    from jaxcompare.study.process import in_fresh_process

    data = args.data.resolve(len(seeds))
    dataset = load_dataset(data)
    training_subset(dataset, data, args.training.seed)  # a size above the data's ends here
    path = args.out / "runs.jsonl"
    configs = [
        RunConfig(framework, model, data, args.training, execution).with_seed(seed)
        for seed, (framework, execution), model in product(seeds, KINDS, args.models)
    ]
    training_runs.start_records(path, EXPERIMENT, configs[0], dataset.fingerprint, "input", fresh=args.fresh)
    done = complete_runs(path)
    for number, config in enumerate(configs, 1):
        kind = f"{config.framework} {config.model}, {config.execution.input} input, seed {config.training.seed}"
        print(f"{number}/{len(configs)} {kind}", flush=True)
        if (EXPERIMENT, config, dataset.fingerprint) not in done:
            training_runs.check_one_commit(path)
            in_fresh_process(run_one, config, dataset, path)

    training_runs.check_converged(load_records(path), path)
    found = complete_runs(path)
    records = [found[EXPERIMENT, config, dataset.fingerprint] for config in configs]
    print("\n" + agreement_table(per_run(to_frame(records))).markdown())


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main)
