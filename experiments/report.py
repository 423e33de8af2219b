"""Figures, summary and README tables from saved records alone: nothing is trained.

    python experiments/report.py results/full_comparison results/framework_agreement results/training_speed

Takes seconds. Redraws figures/ and summary.json of a full comparison in its own folder, and prints every table;
with --readme FILE also writes each table between its marks in that file.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

import console
from jaxcompare.config import InputError


@dataclasses.dataclass(frozen=True)
class Args:
    """Rebuild figures and tables from records."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders written by full_comparison.py, framework_agreement.py or training_speed.py."""
    readme: Path | None = None
    """Markdown file whose blocks `<!-- NAME -->` ... `<!-- /NAME -->` receive the tables, NAME a folder's name."""


def build_table(folder: Path) -> str:
    """The table of one folder's records."""
    from jaxcompare.cells import load_cells
    from jaxcompare.records import load_lines, load_records
    from jaxcompare.report.speed import input_table, speed_table
    from jaxcompare.report.tables import agreement_table, comparison_table

    if (folder / "cells.jsonl").exists():
        inputs = load_lines(folder / "inputs.jsonl", dict, "measurement of an input")
        return f"{speed_table(load_cells(folder / 'cells.jsonl'))}\n\n{input_table(inputs)}"
    records = load_records(folder / "runs.jsonl")
    if not records:
        raise InputError(f"{folder}/runs.jsonl: holds no record; train first")
    if {record.config.framework for record in records} == {"jax", "torch"}:
        return agreement_table(records)
    return comparison_table(records)


def redraw(folder: Path) -> None:
    """The figures and the summary of a full comparison."""
    from full_comparison import save_results
    from jaxcompare.records import load_records

    path = folder / "runs.jsonl"
    records = load_records(path) if path.exists() else []
    if {record.config.framework for record in records} == {"jax"}:
        save_results(records, folder)


def main(args: Args) -> None:
    if not args.results:
        raise InputError("RESULTS: name at least one folder, for example results/full_comparison")
    tables = {folder.name: build_table(folder) for folder in args.results}
    for folder in args.results:
        redraw(folder)
    print("\n\n".join(tables.values()))
    if args.readme:
        from jaxcompare.report.tables import replace_blocks

        replace_blocks(args.readme, tables)


if __name__ == "__main__":
    console.run(Args, main)
