"""What every experiment's command line shares: flags from dataclasses, one-line errors, progress."""

import contextlib
import io
import re
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tyro

from jaxcompare.config import DataConfig, InputError

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
    # `timeout` and batch schedulers end a command so: as Ctrl-C does, with nothing left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(_parse(args_type, presets or {}))
    except InputError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; what is complete is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)


def _parse(args_type: type[Args], presets: Mapping[str, Args]) -> Args:
    options: dict = {"config": (tyro.conf.OmitArgPrefixes,)}
    words = sys.argv[1:]
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
        # The box's title repeats its content, and its last line points at --help.
        raise InputError(" ".join(text.split("\n", 1)[-1].split())) from None


def check_out(out: Path, flag: str = "--out") -> None:
    """Make the folder for results, or say now, not after training, that it cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {out}: not a folder that can be written to ({error.strerror}); give another"
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


def _show_warning(message: Warning | str, *place: object, **more: object) -> None:
    """One line: where in the code a warning comes from is nothing to a user."""
    print("warning: " + " ".join(str(message).split()), file=sys.stderr)


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
