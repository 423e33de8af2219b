"""Does a test catch it? Plants the faults of `mutations_*.txt`, one at a time, in a copy of the checkout.

    python tests/mutations.py [--jobs N] [FILTER ...]

Each fault is one that a person could make. Above faults of one file stands `[FILE] TESTS`, the tests that are to catch
them, as pytest takes them. A fault is a line, `NAME || OLD || NEW`: OLD occurs exactly once in the file, and `\\n` is a
new line. Each fault runs only its tests, up to the first that catches it; at the end, those run once more on a copy as
it is, and must pass. The exit status is 1 if a fault was not caught. Twenty minutes on one core.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS, FILES = ("jaxcompare", "experiments", "tests", "results", "docs"), ("pyproject.toml", "README.md")
SURVIVED, NO_TEST = "SURVIVED", "NO TEST RAN: correct the list"


class Mutation(NamedTuple):
    """A fault, and the tests that are to catch it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


def read_mutations(path: Path) -> list[Mutation]:
    """The faults of a file, whose first line says what they are of."""
    found, file, tests = [], "", ""
    for line in filter(None, path.read_text().splitlines()[1:]):
        if line.startswith("["):
            file, tests = line[1:].split("] ", 1)
        else:
            name, old, new = line.replace("\\n", "\n").split(" ||")
            found.append(Mutation(name, file, old[1:], new[1:], tests))
    return found


MUTATIONS = [fault for path in sorted(Path(__file__).parent.glob("mutations_*.txt")) for fault in read_mutations(path)]


def count_places(fault: Mutation) -> int:
    """How often a fault's old text occurs in its file: once, or the list has rotted."""
    return (ROOT / fault.file).read_text().count(fault.old)


def run_tests(words: Sequence[str], fault: Mutation | None = None) -> tuple[int, str]:
    """pytest's exit status and what it says, in a copy of the checkout with a fault planted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        for name in FOLDERS:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy2(ROOT / name, copy)
        # Programs that were compiled before are there.
        (ROOT / ".pytest_cache").mkdir(exist_ok=True)
        (copy / ".pytest_cache").symlink_to(ROOT / ".pytest_cache")
        if fault:
            path = copy / fault.file
            path.write_text(path.read_text().replace(fault.old, fault.new))
        options = ["-q", "--tb=line", "-n0", "-p", "no:cacheprovider", "-m", ""]  # the slow tests too
        # The copy comes before an installed checkout, in this process's children too.
        environment = os.environ | {"PYTHONPATH": str(copy)}
        command = [sys.executable, "-m", "pytest", *options, *words]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def find_catcher(fault: Mutation) -> str:
    """The first test that fails with a fault planted; SURVIVED if none does, NO_TEST if pytest itself fails."""
    status, said = run_tests(["-x", *shlex.split(fault.tests)], fault)
    if status == 0:
        return SURVIVED
    failed = re.search(r"^(?:FAILED|ERROR) (tests/\S+::.*?)(?: - .*)?$", said, re.MULTILINE)
    return failed[1] if status == 1 and failed else NO_TEST


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="words in a fault's name, file or tests: any of")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="faults at once")
    arguments = parser.parse_args()
    for fault in MUTATIONS:
        if (count := count_places(fault)) != 1:
            sys.exit(f"{fault.name}: its old text occurs {count} times in {fault.file}, not once; correct the list")
    words = arguments.filters or [""]
    chosen = [one for one in MUTATIONS if any(word in f"{one.name} {one.file} {one.tests}" for word in words)]
    if not chosen:
        parser.error(f"no fault has {' or '.join(words)} in its name, file or tests")
    found: list[str] = []
    width = max(len(fault.name) for fault in chosen)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for fault, catcher in zip(chosen, pool.map(find_catcher, chosen), strict=True):
            print(f"{fault.name:{width}}  {fault.file:40}  {catcher}", flush=True)
            found.append(catcher)
    caught = [catcher for catcher in found if catcher not in (SURVIVED, NO_TEST)]
    status, said = run_tests(sorted(set(caught))) if caught else (0, "")
    if status:
        sys.exit(f"tests fail without a fault, and have caught nothing:\n{said[-2000:]}")
    survived, not_run = found.count(SURVIVED), found.count(NO_TEST)
    print(f"{len(chosen)} faults, {len(caught)} caught, {survived} survived, {not_run} not run")
    return int(len(caught) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
