"""Do JAX and PyTorch learn equally well? Both frameworks, both models, several seeds, on a subset.

Shows: mean best and final test accuracy per framework and model, and their difference. Both sides see the same batches;
initialisation and dropout come from each framework's own generator, so seeds differ as seeds do.

    python experiments/framework_agreement.py --dataset folder --data-dir DIR

About 25 minutes on 2 CPU cores at the defaults (5,000 images, 10 epochs, 3 seeds). Expect differences of about a point,
as between seeds. Times in these records are of no use: nothing keeps other work off the machine.
"""

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import console
from jaxcompare.config import DataConfig, Framework, InputError, ModelName, RunConfig, TrainingConfig
from jaxcompare.records import save_record

if TYPE_CHECKING:
    from jaxcompare.data.datasets import Dataset


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the same runs in JAX and in PyTorch and compare their accuracies."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=5000))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=10))
    seeds: int = 3
    """Runs per framework and model, with seeds SEED, SEED+1, ..."""
    out: Path = Path("runs/framework_agreement")
    """Folder for runs.jsonl. Runs found there complete are not repeated."""


def run_one(config: RunConfig, dataset: "Dataset", path: Path) -> None:
    """Train in this process, which imports one framework's loop only."""
    if config.framework == "jax":
        from jaxcompare.training.fit import fit
    else:
        from jaxcompare.twin.fit import fit
    record, _ = fit(config, dataset)
    save_record(path, record)


def main(args: Args) -> None:
    if args.seeds < 1:
        raise InputError(f"--seeds: must be at least 1, not {args.seeds}")
    console.check_out(args.out)
    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.records import find_complete
    from jaxcompare.report.tables import agreement_table

    dataset = load_dataset(args.data)
    training_subset(dataset, args.data.train_size, args.training.seed)  # a size above the data's ends here
    path = args.out / "runs.jsonl"
    configs = [
        RunConfig(framework, model, args.data, dataclasses.replace(args.training, seed=args.training.seed + offset))
        for offset, framework, model in product(range(args.seeds), get_args(Framework), get_args(ModelName))
    ]
    for number, config in enumerate(configs, 1):
        print(f"{number}/{len(configs)} {config.framework} {config.model} seed {config.training.seed}", flush=True)
        if not find_complete(path, config, dataset.fingerprint):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                fresh.submit(run_one, config, dataset, path).result()

    records = [find_complete(path, config, dataset.fingerprint) for config in configs]
    print("\n" + agreement_table([record for record in records if record]))


if __name__ == "__main__":
    console.run(Args, main)
