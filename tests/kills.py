"""Kill a training at random moments, have the same command go on, and compare what it comes to with a run that nothing
disturbed: `python tests/kills.py [--kills 20] [--random-seed 0] [-- FLAGS of full_comparison.py]`."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMES = {"epoch_time_s", "evaluation_time_s", "input_wait_s"}
FLAGS = ["--dataset", "digits", "--image-size", "8", "--epochs", "6", "--checkpoint-every", "0"]


def start(out: Path, flags: list[str]) -> subprocess.Popen:
    words = [sys.executable, "-u", str(ROOT / "experiments" / "full_comparison.py"), *FLAGS, *flags, "--out", str(out)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def follow(process: subprocess.Popen, epochs: int | None = None) -> bool:
    """Wait for so many epochs, or for the end; whether it has ended."""
    assert process.stdout
    for line in process.stdout:
        if epochs is not None and (epochs := epochs - (" epoch " in line)) < 1:
            return False
    assert process.wait() == 0
    return True


def read(out: Path) -> dict[tuple[str, int], dict]:
    lines = map(json.loads, (out / "runs.jsonl").read_text().splitlines()) if (out / "runs.jsonl").exists() else ()
    return {(line["config"]["model"], line["config"]["training"]["seed"]): line for line in lines}


def numbers(runs: dict[tuple[str, int], dict]) -> dict:
    return {key: {n: v for n, v in run["history"].items() if n not in TIMES} for key, run in runs.items()}


def weights(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "weights").glob("*.npz"))}


def main(kills: int, seed: int, flags: list[str]) -> int:
    """Prints a line a command; the exit status says whether every killed run came to the same."""
    moments, done, same, finished = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        follow(start(whole, flags))
        histories = [run["history"] for run in read(whole).values()]
        epochs = len(histories[0]["train_loss"])
        seconds = max(history["epoch_time_s"][-1] for history in histories)
        while done < kills:
            out, ended = Path(folder) / f"killed-{done}", False
            while not ended:
                complete = {key: run for key, run in read(out).items() if run["status"] == "complete"}
                process = start(out, flags)
                ended = follow(process, moments.randrange(1, epochs + 1))
                if not ended:
                    # Somewhere in the next epoch, its evaluation, checkpoint and records.
                    time.sleep(moments.uniform(0, 3 * seconds))
                    process.kill()
                    process.communicate()
                    done += 1
                    print(f"killed; {len(list(out.glob('checkpoints/*/*')))} checkpoints", flush=True)
                if again := [key for key, run in complete.items() if read(out)[key] != run]:
                    print(f"repeated though complete: {again}")
                    return 1
            finished += 1
            same += numbers(read(out)) == numbers(read(whole)) and weights(out) == weights(whole)
            print(f"{same} of {finished} killed runs came to the same, after {done} kills", flush=True)
    return 0 if same == finished else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--random-seed", type=int, default=0)
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    sys.exit(main(arguments.kills, arguments.random_seed, arguments.flags))
