"""Does a test catch it? Plants the faults of `mutation_list*.py`, one at a time, in a copy of the checkout.

    python tests/mutations.py [--only WORD] [--jobs N]

A quarter of an hour on one core. Each fault runs only the tests that are to catch it, up to the first that does; at the
end, those run once more on the copy as it was, and must pass. The exit status is 1 if a fault was not caught.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import mutation_list
import mutation_list_analysis
import mutation_list_representations
from mutation_list import Mutation

MUTATIONS = mutation_list.MUTATIONS + mutation_list_analysis.MUTATIONS + mutation_list_representations.MUTATIONS
ROOT = Path(__file__).parents[1]
SURVIVED, NO_TEST = "SURVIVED", "NO TEST RAN: correct the list"
COPIED = ("jaxcompare", "experiments", "tests", "results", "docs", "pyproject.toml", "README.md")


def copy_checkout(place: Path) -> Path:
    """What the tests need of the checkout, as it is now."""
    place.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, place / name)
    return place


def check(mutation: Mutation) -> None:
    """End here where a fault can no longer be planted as it is declared: the list must not rot."""
    found = (ROOT / mutation.file).read_text().count(mutation.old)
    if found != 1:
        sys.exit(f"{mutation.name}: its old text occurs {found} times in {mutation.file}, not once; correct the list")


@contextmanager
def planted(mutation: Mutation, copy: Path) -> Iterator[None]:
    path = copy / mutation.file
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        path.write_text(original)


def run_tests(copy: Path, words: list[str]) -> tuple[int, str]:
    """pytest's exit status, and what it says."""
    # The copy comes before an installed checkout, in this process's children too.
    environment = os.environ | {"PYTHONPATH": str(copy)}
    # The slow tests too.
    options = ["-q", "--tb=line", "--durations=0", "-n0", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "-m", "", *words]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def find_catcher(mutation: Mutation, copy: Path) -> str:
    """The first test that fails with a fault planted; SURVIVED if none does, NO TEST RAN if pytest itself fails."""
    with planted(mutation, copy):
        status, said = run_tests(copy, ["-x", *shlex.split(mutation.tests)])
    if status == 0:
        return SURVIVED
    failed = re.search(r"^(?:FAILED|ERROR) (tests/\S+::.*?)(?: - .*)?$", said, re.MULTILINE)
    if status != 1 or not failed:
        return NO_TEST
    return failed[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name or file holds this word")
    jobs = {"type": int, "default": 1, "choices": range(1, 65), "metavar": "N"}
    parser.add_argument("--jobs", **jobs, help="faults at once, each in a copy of its own")
    arguments = parser.parse_args()
    for mutation in MUTATIONS:
        check(mutation)
    chosen = [one for one in MUTATIONS if arguments.only in one.name or arguments.only in one.file]
    if not chosen:
        parser.error(f"--only {arguments.only}: is in no fault's name or file")
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(arguments.jobs):
            copies.put(copy_checkout(Path(folder) / str(number)))

        def catch(mutation: Mutation) -> str:
            copy = copies.get()
            try:
                return find_catcher(mutation, copy)
            finally:
                copies.put(copy)

        width = max(len(one.name) for one in MUTATIONS)
        for mutation, catcher in zip(chosen, pool.map(catch, chosen), strict=True):
            print(f"{mutation.name:{width}}  {mutation.file:40}  {catcher}", flush=True)
            found.append(catcher)
        caught = [catcher for catcher in found if catcher not in (SURVIVED, NO_TEST)]
        status, said = run_tests(copies.get(), sorted(set(caught))) if caught else (0, "")
    if status:
        sys.exit(f"tests fail without a fault, and have caught nothing:\n{said[-2000:]}")
    print(
        f"{len(chosen)} faults, {len(caught)} caught, {found.count(SURVIVED)} survived, {found.count(NO_TEST)} not run"
    )
    return len(caught) < len(chosen)


if __name__ == "__main__":
    sys.exit(main())
