"""What every experiment's command line shares: flags from dataclasses, one-line errors, progress."""

import contextlib
import functools
import io
import itertools
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import tyro

import guard
import peers
from jaxcompare.compat import jax as compat
from jaxcompare.config import DataConfig, InputError
from jaxcompare.lines import remove_parts, write_atomically

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

    from jaxcompare.report.tables import Table

Args = TypeVar("Args")

DIGITS = DataConfig("digits", image_size=16)
"""Every quick preset's images, which one report can hold together. Of 8 pixels, 16 lose nothing and make 17 tokens."""


def run(args_type: type[Args], main: Callable[[Args], None], presets: Mapping[str, Args] | None = None) -> None:
    """Parse the command line into `args_type`, run `main`, and turn the user's mistakes into one line and status 2.

    Args:
        args_type: a dataclass; its nested dataclasses' fields become flags without a prefix.
        main: the experiment.
        presets: defaults by name of --preset. A flag given beside it wins.
    """
    warnings.showwarning = _show_warning
    out = Path()
    try:
        args = parse(args_type, presets or {}, sys.argv[1:])
        out = getattr(args, "out", out)
        if jobs := getattr(args, "jobs", None):
            out = jobs.folder_in(out)
        main(args)
        sys.stdout.flush()
        peers.leave()
    except InputError as error:
        _flush_output(error)
        _fail(str(error) + _keep_lines(error.lines, out), 2)
    except KeyboardInterrupt as error:
        guard.hold_interrupts()
        if reason := peers.why(error):
            _fail(reason, 1)
        how = "the same command, without --fresh," if "--fresh" in sys.argv else "the same command"
        print(f"\ninterrupted; what is complete is kept, and {how} goes on", file=sys.stderr)
        peers.fail("interrupted; the same commands go on", guard.INTERRUPTED)
        sys.exit(guard.INTERRUPTED)
    except Exception as error:
        if reason := peers.why(error):
            _fail(reason, 1)
        reason = _flush_output(error)
        _fail(f"standard output cannot be written ({reason})" if reason else guard.explain(error, out), 1)
    finally:
        guard.release()


def _flush_output(error: Exception) -> str:
    """Print what is held back; why that cannot be, if it cannot."""
    try:
        # Unbuffered output holds nothing back: a line shows whether it is what failed.
        print(end="\n" if isinstance(error, OSError) else "", flush=True)
    except OSError as failure:
        # The interpreter would try again at its end, and say so in a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failure.strerror or str(failure)
    return ""


def parse(args_type: type[Args], presets: Mapping[str, Args], words: Sequence[str]) -> Args:
    """A command line's words as `run` takes them.

    Raises:
        InputError: they are no such command line.
    """
    options: dict = {"args": words, "config": (tyro.conf.OmitArgPrefixes,)}
    for position, word in enumerate(words):
        if presets and (word == "--preset" or word.startswith("--preset=")):
            name = word.partition("=")[2] or "".join(words[position + 1 : position + 2])
            if name not in presets:
                raise InputError(f"--preset: {name!r} is unknown; choose one of {', '.join(presets)}")
            options["default"] = presets[name]
    # tyro prints its errors as a box of several lines; say the same in one.
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(args_type, **options)
    except SystemExit as end:
        if end.code == 0:
            raise
        text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", complaint.getvalue())
        # The box's title repeats its content, and its last line points at --help: what else a flag is stands there.
        text = " ".join(text.split("\n", 1)[-1].split())
        text = re.sub(r" (Got errors|Argument helptext):.*(?= For full helptext)", "", text)
        text = re.sub(r"^Error parsing \w+: (.*) For full helptext.*", r"\1", text)
        text = re.sub(r"(?<=Expected one of \().*(?=\))", _sorted, text)
        text = re.sub(r"no type matching \{None\}\|(\S+) could be instantiated from \[(.*?)\]", r"\2 is no \1", text)
        raise InputError(text) from None


def _sorted(choices: re.Match[str]) -> str:
    """As tyro has them they are a set's; None is what a flag is that is not given."""
    return ", ".join(sorted(set(choices[0].split(", ")) - {"'None'"}))


RECORD_FILES = ("runs.jsonl", "cells.jsonl", "study.json")


def check_out(out: Path, holds: str | None = None, *, fresh: bool = False) -> None:
    """Make the folder for results and own it, or say now, not after the work, why that cannot be.

    Args:
        holds: the experiment's own file of records: a folder that holds another's is refused.
        fresh: what is there will move to a folder beside it, see `move_aside`.
    """
    # Of a run that was stopped early there are checkpoints alone; runs/ is what representations.py trains.
    ours = [*RECORD_FILES, "checkpoints", "runs/runs.jsonl", "runs/checkpoints"]
    if fresh and _entries(out) and not any((out / name).exists() for name in ours):
        raise InputError(f"--fresh: {out} holds no results that an experiment wrote, and is left alone; check --out")
    for name in RECORD_FILES:
        if holds and not fresh and name != holds and (out / name).exists():
            raise InputError(f"--out {out}: holds {name} of another experiment; give another folder")
    made = not out.exists()
    check_writable(out, "--out")
    guard.own(out, made=made)
    remove_parts(out)


def move_aside(out: Path) -> None:
    """Move what a folder that is owned holds to one beside it."""
    out = out.resolve()
    if not (entries := _entries(out)):
        return
    place = next(place for n in itertools.count(1) if not (place := out.with_name(f"{out.name}.{n}")).exists())
    place.mkdir()
    for entry in entries:
        entry.rename(place / entry.name)


def _entries(out: Path) -> list[Path]:
    return [entry for entry in out.iterdir() if entry.name != guard.LOCK] if out.is_dir() else []


def check_writable(folder: Path, flag: str) -> None:
    """Make a folder, and a file in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {folder}: not a folder that can be written to ({error.strerror}); give another"
        ) from error


def check_models(models: Sequence[str]) -> None:
    """Refuse an empty or repeated --models."""
    if not models or len(set(models)) < len(models):
        raise InputError("--models: give each model once, for example --models cnn vit")


def seeds(first: int, count: int) -> list[int]:
    """The seeds that --seed FIRST --seeds COUNT means."""
    if count < 1:
        raise InputError(f"--seeds: must be at least 1, not {count}")
    if first + count > 2**32:
        raise InputError(f"--seeds: {count} seeds from --seed {first} go beyond {2**32 - 1}")
    return list(range(first, first + count))


def show_table(screen: "Console", table: "Table", justify: "JustifyMethod" = "left") -> None:
    """A report's table, without its notes, on the terminal."""
    from rich.table import Table as Printed

    printed = Printed(title=table.title)
    for column in table.header:
        printed.add_column(column, justify=justify)
    for row in table.rows:
        printed.add_row(*row)
    screen.print(printed)


@functools.cache
def _warn_once(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _show_warning(message: Warning | str, *place: object, **more: object) -> None:
    """One line, once: where in the code a warning comes from is nothing to a user."""
    _warn_once(compat.shorten_cache_warning(" ".join(str(message).split())))


def _keep_lines(lines: Sequence[str], out: Path) -> str:
    """Write what a message has no room for beside the results, never among the images; say where."""
    if not lines:
        return ""
    path = out / "bad_images.txt"
    try:
        write_atomically(path, "".join(f"{line}\n" for line in lines))
    except InputError as error:
        return f" ({error})"
    return f" (all {len(lines)} are in {path})"


def _fail(message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    peers.say(line)
    peers.fail(line, status)
    sys.exit(status)
