"""All that is measured, in order, and one report of it.

    python experiments/reproduce_all.py --preset quick                             scikit-learn's digits, minutes
    python experiments/reproduce_all.py --dataset folder --data-dir DIR            the recipe: hours on 2 CPU cores
    python experiments/reproduce_all.py --dataset folder --data-dir DIR --dry-run  what that would be, and how long

Runs the full comparison, data efficiency, the frameworks' agreement, the speed of every engine and, of the recipe, what
the networks learned, each in a process of its own, into a folder each, then report.py. What is complete is not
repeated: if it stops, run the same command again.
"""

import dataclasses
import math
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import console
import guard
from jaxcompare.config import DataConfig, DatasetName, InputError


@dataclasses.dataclass(frozen=True)
class Args:
    """Run every experiment, one after another, and make one report."""

    preset: Literal["quick", "full"] = "full"
    """`full`: the recipe, hours on a CPU. `quick`: the digits that come with scikit-learn."""
    dataset: DatasetName = "cifar10"
    """The data set, as for the other scripts. `quick` takes digits whatever is given."""
    data_dir: Path = Path("data")
    """Folder that holds it, or into which it is downloaded."""
    skip_bad_images: bool = False
    """Of a folder, go on without the files that are no readable images."""
    out: Path = Path("runs/reproduce_all")
    """Folder for one folder per experiment, and report/."""
    minutes: float | None = None
    """Stop before so many minutes are over, with everything kept, and say what is left: exit status 75. The same
    command goes on."""
    dry_run: bool = False
    """Print the plan and about how long each piece takes here, from a calibration of a minute or two on the data set's
    images; run nothing."""


UNFINISHED = 75
"""Exit status where time ran out: EX_TEMPFAIL of sysexits.h, try again."""

QUICK = {
    "full_comparison": "full_comparison.py --preset quick",
    "data_efficiency": "data_efficiency.py --preset quick",
    "framework_agreement": "framework_agreement.py --dataset digits --image-size 16 --train-size 500 --epochs 2 "
    "--seeds 2",
    "training_speed": "training_speed.py --preset quick",
}
"""By folder: the experiment and its flags, in order."""

FULL = {
    "full_comparison": "full_comparison.py --seeds 5",
    "data_efficiency": "data_efficiency.py --reuse {out}/full_comparison",
    "data_efficiency_independent": "data_efficiency.py --sizes 1000 5000 --subsets independent",
    "data_efficiency_steps": "data_efficiency.py --sizes 1000 5000 --budget steps",
    "framework_agreement": "framework_agreement.py",
    "framework_agreement_full": "framework_agreement.py --models cnn --train-size None --epochs 20 --seeds 1",
    "training_speed": "training_speed.py --tune --controls no-dropout --seeds 4 --repeats 5 --epochs 9",
    "training_speed_malloc": "training_speed.py --engines eager step epoch --inputs resident --epochs 9 --no-details "
    "--malloc default",
    "representations": "representations.py --runs {out}/full_comparison",
}
"""The same; the data set's flags come behind. The sweep takes its runs on all images from the comparison."""


def build_steps(args: Args) -> list[list[str]]:
    """Script, flags: one list for each process."""
    full = args.preset == "full"
    place = ["--data-dir", str(args.data_dir)]
    data = ["--dataset", args.dataset, *place, *(["--skip-bad-images"] if args.skip_bad_images else [])]
    steps, folders = [], []
    for name, line in (FULL if full else QUICK).items():
        words = [word.format(out=args.out) for word in line.split()]
        folders.append(str(args.out / name))
        # Runs that are there say which images they are of, but not where these are.
        steps.append([*words, *(place if "--runs" in words else data if full else []), "--out", folders[-1]])
    return [*steps, ["report.py", *folders, "--out", str(args.out / "report")]]


def print_plan(args: Args, steps: list[list[str]]) -> None:
    """Each step, and about how many minutes it takes from its beginning."""
    from estimate import estimate

    data = DataConfig(args.dataset, args.data_dir, skip_bad_images=args.skip_bad_images)
    seconds = estimate(steps, data if args.preset == "full" else console.DIGITS)
    for words, of_step in zip(steps, seconds, strict=True):
        print(f"{max(1, round(of_step / 60)):>5,} min  {shlex.join(words)}")
    print(f"{round(sum(seconds) / 60):>5,} min  in all, about")


def main(args: Args) -> None:
    if args.minutes is not None and not args.minutes >= 1:
        raise InputError(f"--minutes: must be at least 1, not {args.minutes:g}")
    steps = build_steps(args)
    if args.dry_run:
        print_plan(args, steps)
        return
    console.check_out(args.out)
    # A step that is asked to end has so long to save what it has.
    end = time.monotonic() + 60 * (math.inf if args.minutes is None else args.minutes) - guard.GRACE_S
    for number, (script, *words) in enumerate(steps, 1):
        print(f"\n== {number} of {len(steps)}: {script} {' '.join(words)}\n", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(script)), *words]
        with subprocess.Popen(command, env=guard.child_environment()) as child:
            try:
                status = child.wait(None if end == math.inf else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.terminate()
                child.wait()
                left = "".join(f"\n  {shlex.join(step)}" for step in steps[number - 1 :])
                print(f"\nstopped after {args.minutes:g} minutes; the same command goes on. Left:{left}")
                sys.exit(UNFINISHED)
            except KeyboardInterrupt:
                child.terminate()  # it saves what it has, within guard.GRACE_S
                raise
        if status == guard.INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            raise InputError(f"{script} ended with status {status}, see above; once mended, the same command goes on")


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main)
