"""What a study's folder holds."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcompare.cell_frame import to_csv, to_frame
from jaxcompare.cell_records import CellRecord, load_cells, load_measurements, save_cells
from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.lines import save_lines, write_atomically
from jaxcompare.measure.environment import find_commit
from jaxcompare.measure.malloc import malloc_settings
from jaxcompare.measurements import LINES
from jaxcompare.side import Setup


@dataclasses.dataclass
class Measured:
    """Of one measurement."""

    folder: Path
    cells: list[CellRecord] = dataclasses.field(default_factory=list)
    others: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=lambda: {name: [] for name in LINES})

    def add_cell(self, record: CellRecord) -> None:
        """In memory and on disk."""
        self.cells.append(record)
        self.save_cells()

    def save_cells(self) -> None:
        """On disk, as records and as a table."""
        save_cells(self.folder / "cells.jsonl", self.cells)
        write_atomically(self.folder / "cells.csv", to_csv(to_frame(self.cells)))

    def add(self, kind: str, place: dict[str, Any], values: dict[str, Any]) -> None:
        """One of LINES: what `place` names, in memory and on disk."""
        self.others[kind].append(place | values | {"git_commit": find_commit()})
        save_lines(self.folder / f"{kind}.jsonl", self.others[kind])

    def has(self, kind: str, place: dict[str, Any]) -> bool:
        """Whether it is there."""
        return any(place.items() <= record.items() for record in self.others[kind])


def load_measured(folder: Path, setup: Setup, cells_asked: Sequence[Cell]) -> Measured:
    """What an earlier call of the same measurement left.

    Raises:
        InputError: another measurement is there.
    """
    path = folder / "cells.jsonl"
    cells = load_cells(path) if path.exists() else []
    for record in cells:
        malloc = malloc_settings()
        for name, there, here in (
            # A cell that failed has none.
            ("--malloc", record.manifest.get("malloc", malloc) or "default", malloc or "default"),
            (
                "what is in the images (--dataset, --image-size)",
                record.data_fingerprint[:12],
                setup.dataset.fingerprint[:12],
            ),
            ("--train-size", record.train_images, len(setup.dataset.train)),
            ("--seed", record.seed, setup.training.seed),
            ("--epochs", record.epochs, setup.training.epochs),
        ):
            if there != here:
                raise InputError(
                    f"--out {folder}: holds another measurement, {name} is {there} there and {here} here; give another "
                    "folder"
                )
        if record.cell not in cells_asked:
            raise InputError(
                f"--out {folder}: holds {record.cell.model} {record.cell.title}, which this call does not measure; "
                "give another folder"
            )
    others = load_measurements(folder)
    for line in others["search"]:
        for name, here in search_facts(setup).items():
            if line.get(name, here) != here:
                raise InputError(
                    f"--out {folder}: holds another search, its {name} is {line[name]} there and {here} here; give "
                    "another folder"
                )
    return Measured(folder, cells, others)


def merge(folder: Path, parts: Sequence[Path]) -> None:
    """Write what several measurements hold into one folder, one part after another, in place of what an earlier merge
    left; of the input pipelines, which every part measures, the first's.

    Raises:
        InputError: they hold no cell, are of several commits or processors, or the folder holds more than they do.
    """
    merged = Measured(folder)
    for part in parts:
        cells, others = part / "cells.jsonl", load_measurements(part)
        merged.cells += load_cells(cells) if cells.exists() else []
        for kind, lines in others.items():
            merged.others[kind] += lines if kind != "inputs" or not merged.others[kind] else []
    if not merged.cells:
        raise InputError(f"{folder}: none of the jobs has measured a cell")
    for name, values in (
        ("commit", {record.git_commit for record in merged.cells}),
        ("cpu", {record.environment["cpu"] for record in merged.cells if record.environment}),
    ):
        if len(values) > 1:
            raise InputError(f"{folder}: the jobs' {name} differs ({', '.join(map(str, values))}); measure them anew")
    before = load_cells(folder / "cells.jsonl") if (folder / "cells.jsonl").exists() else []
    found = {(record.cell, record.repeat) for record in merged.cells}
    for record in before:
        if (record.cell, record.repeat) not in found:
            raise InputError(
                f"--out {folder}: holds {record.cell.model} {record.cell.title} of repeat {record.repeat + 1}, which "
                "none of the jobs has measured; give another folder"
            )
    merged.save_cells()
    for kind, lines in merged.others.items():
        if lines:
            save_lines(folder / f"{kind}.jsonl", lines)


def search_facts(setup: Setup) -> dict[str, Any]:
    """What a search's candidates have in common."""
    return {
        "data_fingerprint": setup.dataset.fingerprint,
        "train_images": len(setup.dataset.train),
        "seed": setup.training.seed,
        "malloc": malloc_settings(),
    }


def as_json(cell: Cell) -> dict[str, Any]:
    """As it is read from a file."""
    return dataclasses.asdict(cell) | {"options": list(cell.options)}


def check_one_commit(measured: Measured, missing: Sequence[Cell]) -> None:
    """Refuse to go on with a measurement that another commit began: its cells could not stand beside the new ones."""
    commits = [record.git_commit for record in measured.cells]
    commits += [line["git_commit"] for line in measured.others["search"]]
    now = find_commit()
    for commit in commits if missing else ():
        if commit != now:
            raise InputError(
                f"--out {measured.folder}: holds a measurement begun at commit {commit}; this is "
                f"{now}. Give another folder, or go back to that commit"
            )
