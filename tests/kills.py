"""Kill an experiment at random moments, have the same command go on, and compare what it comes to with one that nothing
disturbed: `python tests/kills.py [SHAPE ...] [--kills 20] [--random-seed 0]`, by default every shape.

What is finished must not be repeated, to the byte; in the end records, but for times, and weights must be the same.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from math import inf
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGITS = ["--dataset", "digits", "--image-size", "8"]
TRAINING = [
    "full_comparison.py",
    *DIGITS,
    "--train-size",
    "300",
    "--batch-size",
    "32",
    "--epochs",
    "6",
    "--checkpoint-every",
    "0",
]
SHAPES: dict[str, list[str]] = {
    **{f"{engine}-host": [*TRAINING, "--engine", engine, "--input", "host"] for engine in ("step", "chunk")},
    **{
        f"{engine}-device{'-2-seeds' if seeds == '2' else ''}": [
            *TRAINING, "--engine", engine, "--input", "device", "--chunk-size", "5", "--seeds", seeds
        ]
        for engine in ("step", "chunk", "epoch") for seeds in ("1", "2")
    },
    "data_efficiency": [
        "data_efficiency.py", *DIGITS, "--sizes", "60", "120", "240", "480", "--seeds", "2", "--epochs", "3",
        "--checkpoint-every", "0",
    ],
    "jobs": [
        "data_efficiency.py", *DIGITS, "--sizes", *map(str, range(60, 360, 30)), "--seeds", "1", "--epochs", "3",
        "--checkpoint-every", "0", "--executor", "local", "--at-once", "2",
    ],
    "training_speed": [
        "training_speed.py", *DIGITS, "--train-size", "64", "--batch-sizes", "32", "--engines", "eager", "step",
        "--no-details", "--repeats", "2",
    ],
}  # fmt: skip
"""Commands by name: each engine and input, several seeds in a program, many short runs, 20 jobs, many cells."""

PROGRESS = (" epoch ", "[")
"""What a line has, or begins with, after which something more is done."""

TIMES = {
    *("started_at", "checksum", "compile_times", "warm_compile_times", "others_share", "resumed", "peak_bytes"),
    *("memory", "page_faults", "load_average", "cpu_mhz", "gpu_driver_and_clocks", "command"),
}
"""Fields that two runs of one command may differ in, beside those in seconds."""


class Command:
    """An experiment that is being run."""

    def __init__(self, words: list[str], out: Path):
        script, *flags = words
        command = [sys.executable, "-u", str(ROOT / "experiments" / script), *flags, "--out", str(out)]
        # What is killed leaves its temporary files here.
        environment = os.environ | {"TMPDIR": str(out.parent)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.progress_at: list[float] = []

    def follow(self, most: float = inf) -> bool:
        """Wait for so many lines of progress, or for the end; whether it has ended."""
        assert self.process.stdout
        for line in self.process.stdout:
            if PROGRESS[0] in line or line.startswith(PROGRESS[1]):
                self.progress_at.append(time.monotonic())
                if len(self.progress_at) >= most:
                    return False
        if self.process.wait():
            raise SystemExit(f"{self.process.args} ended with status {self.process.returncode}")
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def finished(out: Path) -> set[str]:
    """Lines of records that must not change any more."""
    lines = [line for path in out.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return {line for line in lines if json.loads(line).get("status", "complete") == "complete"}


def without_times(value: object) -> object:
    match value:
        case dict():
            return {
                name: without_times(one) for name, one in value.items() if not (name in TIMES or name.endswith("_s"))
            }
        case list():
            return [without_times(one) for one in value]
    return value


def outcome(out: Path) -> set[str]:
    """What two undisturbed calls have in common: records, weights, and which files there are."""
    return {
        *(json.dumps(without_times(json.loads(line)), sort_keys=True) for line in finished(out)),
        *(f"{path.name} {sha256(path.read_bytes()).hexdigest()}" for path in out.glob("weights/*")),
        # Jobs have folders beside what the plain command writes.
        *(str(path.relative_to(out)) for path in out.rglob("*") if "jobs" not in path.relative_to(out).parts),
    }


def kill_again_and_again(shape: str, kills: int, moments: random.Random, folder: Path) -> bool:
    """Prints a line a kill; whether every command that was killed came to the same."""
    words = SHAPES[shape]
    whole = Command(words, folder / "whole")
    whole.follow()
    expected, steps = outcome(folder / "whole"), len(whole.progress_at)
    if "--executor" in words:
        Command(words[: words.index("--executor")], folder / "plain").follow()
        if expected != outcome(folder / "plain"):
            print(f"{shape}: {expected ^ outcome(folder / 'plain')}: not as in the plain command")
            return False
        print(f"{shape}: {len(finished(folder / 'plain'))} records, as those of the plain command", flush=True)
    gap = statistics.median(b - a for a, b in zip(whole.progress_at, whole.progress_at[1:], strict=False))
    done, same, ended = 0, 0, 0
    while done < kills:
        out = folder / f"killed-{done}"
        while True:
            before = finished(out)
            command = Command(words, out)
            if command.follow(moments.randrange(1, steps + 1) if done < kills else inf):
                break
            # Somewhere in what comes next: training, evaluation, a checkpoint, a record.
            time.sleep(moments.uniform(0, 2 * gap))
            command.kill()
            done += 1
            print(f"{shape}: killed {done} times; {len(finished(out))} finished", flush=True)
            if repeated := before - finished(out):
                print(f"{shape}: finished, and yet repeated: {repeated}")
                return False
        ended += 1
        found = outcome(out)
        same += found == expected
        for one in sorted(found ^ expected):
            print(f"{shape}: {'too much' if one in found else 'missing'}: {one}")
        print(f"{shape}: {same} of {ended} came to the same, after {done} kills", flush=True)
    return same == ended


def main(shapes: list[str], kills: int, seed: int) -> int:
    moments = random.Random(seed)
    results = {}
    for shape in shapes or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            results[shape] = kill_again_and_again(shape, kills, moments, Path(folder))
    failed = [shape for shape, good in results.items() if not good]
    print(
        f"{len(results) - len(failed)} of {len(results)} shapes came to the same{': not ' if failed else ''}"
        f"{', '.join(failed)}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--random-seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.shapes, arguments.kills, arguments.random_seed))
