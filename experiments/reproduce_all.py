"""Everything the project measures, in order, and one report of it.

    python experiments/reproduce_all.py --preset quick                             scikit-learn's digits, 7 minutes
    python experiments/reproduce_all.py --dataset folder --data-dir DIR            the recipe: hours on 2 CPU cores

Runs the full comparison, data efficiency, the frameworks' agreement and the speed of every engine, each in a process of
its own, into a folder each, then report.py. What is complete is not repeated: stopped at any point, the same command
goes on.
"""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import console
from jaxcompare.config import DatasetName, InputError


@dataclasses.dataclass(frozen=True)
class Args:
    """Run every experiment, one after another, and make one report."""

    preset: Literal["quick", "full"] = "full"
    """`full`: the recipe, hours on a CPU. `quick`: the digits that come with scikit-learn."""
    dataset: DatasetName = "cifar10"
    """The data set, as for the other scripts. `quick` takes digits whatever is given."""
    data_dir: Path = Path("data")
    """Folder that holds it, or into which it is downloaded."""
    out: Path = Path("runs/reproduce_all")
    """Folder for one folder per experiment, and report/."""


QUICK: list[tuple[str, list[str]]] = [
    ("full_comparison", ["--preset", "quick", "--epochs", "8"]),
    ("data_efficiency", ["--preset", "quick"]),
    ("framework_agreement", ["--dataset", "digits", "--train-size", "500", "--epochs", "2", "--seeds", "2"]),
    ("training_speed", ["--preset", "quick"]),
]
"""Each experiment and its flags, in order."""

FULL: list[tuple[str, list[str]]] = [
    ("full_comparison", []),
    ("data_efficiency", []),
    ("framework_agreement", []),
    ("training_speed", ["--batch-sizes", "128", "16", "32", "512", "--seeds", "4"]),
]
"""The same; the data set's flags come before."""


def build_steps(args: Args) -> list[list[str]]:
    """Script, flags: one list for each process."""
    data = ["--dataset", args.dataset, "--data-dir", str(args.data_dir)]
    runs = QUICK if args.preset == "quick" else [(name, [*data, *flags]) for name, flags in FULL]
    steps = [[f"{name}.py", *flags, "--out", str(args.out / name)] for name, flags in runs]
    return [*steps, ["report.py", *(str(args.out / name) for name, _ in runs), "--out", str(args.out / "report")]]


def main(args: Args) -> None:
    console.check_out(args.out)
    steps = build_steps(args)
    for number, (script, *words) in enumerate(steps, 1):
        print(f"\n== {number} of {len(steps)}: {script} {' '.join(words)}\n", flush=True)
        with subprocess.Popen([sys.executable, str(Path(__file__).with_name(script)), *words]) as child:
            try:
                status = child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)  # where only this process was told
                child.wait()  # it saves what it has
                raise
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise InputError(f"{script} ended with status {status}, see above; once mended, the same command goes on")


if __name__ == "__main__":
    console.run(Args, main)
