"""What do checkpoints at the default interval cost? Trains with and without them in turn, and compares the time from
epoch to epoch: training, evaluation and keeping.

    python tests/checkpoint_cost.py --dataset folder --data-dir DIR     half an hour on 2 CPU cores; keep other work off
    python tests/checkpoint_cost.py --dataset digits --seconds 20 --pairs 2 --every 5
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, get_args

from jaxcompare.config import DataConfig, ExecutionConfig, ModelName, RunConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import Dataset
from jaxcompare.measure.runtime import configure_jax
from jaxcompare.training.checkpoints import Checkpoints
from jaxcompare.training.execution import choose_execution
from jaxcompare.training.fit import fit_seeds


class Measured(NamedTuple):
    epoch_s: float
    """Mean over all epochs but the first."""
    others: float
    """Of the cores, what other work took, at most."""


def measure(config: RunConfig, dataset: Dataset, checkpoints: Checkpoints | None) -> Measured:
    ends: list[float] = []
    (record,), _ = fit_seeds(
        config,
        dataset,
        [config.training.seed],
        on_epoch=lambda _: ends.append(time.perf_counter()),
        checkpoints=checkpoints,
    )
    return Measured((ends[-1] - ends[0]) / (len(ends) - 1), max(record.history.others_share))


def main(arguments: argparse.Namespace) -> None:
    configure_jax()
    data = DataConfig(arguments.dataset, arguments.data_dir)
    dataset = load_dataset(data)
    execution, _ = choose_execution(ExecutionConfig(), dataset.train)
    every = {} if arguments.every is None else {"every_s": arguments.every}
    print(
        "| Model | Seconds an epoch, without | With | With over without, median (least to most) | Other work, at most |"
    )
    print("| --- | --- | --- | --- | --- |")
    for model in get_args(ModelName):
        short = RunConfig("jax", model, data, TrainingConfig(epochs=2), execution)
        epochs = 2 + math.ceil(arguments.seconds / measure(short, dataset, None).epoch_s)
        config = RunConfig("jax", model, data, TrainingConfig(epochs), execution)
        pairs = []
        for _ in range(arguments.pairs):
            with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
                without = measure(config, dataset, None)
                checkpoints = Checkpoints(Path(folder) / "checkpoints", **every)
                pairs.append((without, measure(config, dataset, checkpoints)))
                assert list(Path(folder).glob("checkpoints/*")), "none was written: give more --seconds"
                checkpoints.remove()
        ratios = [with_them.epoch_s / without.epoch_s for without, with_them in pairs]
        median = [statistics.median(one.epoch_s for one in column) for column in zip(*pairs, strict=True)]
        print(
            f"| {model} | {median[0]:.3f} | {median[1]:.3f} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f}) | {max(one.others for pair in pairs for one in pair):.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seconds", type=float, default=150, help="that each run takes, at least")
    parser.add_argument("--pairs", type=int, default=3, help="of runs, without and with checkpoints")
    parser.add_argument("--every", type=float, help="seconds between checkpoints (default: the experiments')")
    parser.add_argument("--out", type=Path, help="a folder on the disk that is to be measured (default: TMPDIR)")
    main(parser.parse_args())
