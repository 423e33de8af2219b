"""What was measured, gathered from folders of records: the one thing that a report is made of."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jaxcompare.analysis.comparison import check_comparable, check_one_recipe, summarise
from jaxcompare.analysis.data_efficiency import Efficiency, Sweep, build_sweep, summarise_sweep
from jaxcompare.analysis.predictions import Score, score_predictions
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cell_frame import to_frame
from jaxcompare.cells import CellRecord, load_cells
from jaxcompare.config import InputError, ModelName
from jaxcompare.measurements import LINES
from jaxcompare.records import RunRecord, load_lines, load_records
from jaxcompare.report.agreement import agreement_table
from jaxcompare.report.answers import verdict
from jaxcompare.report.speed_details import detail_tables
from jaxcompare.report.speed_tables import speed_tables, verdict_lines
from jaxcompare.report.summary import summary_table
from jaxcompare.report.tables import Table, accuracy_time_table, comparison_table, efficiency_tables

PAGE_ONLY = ("training_speed_details",)
"""Tables for the page alone: too many for a Markdown file."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Records by experiment; what was not measured is empty or None."""

    comparison: Sequence[RunRecord] = ()
    sweep: Sweep | None = None
    agreement: Sequence[RunRecord] = ()
    speed: SpeedStudy | None = None

    @property
    def efficiency(self) -> Efficiency | None:
        """The sweep in the recipe's metric."""
        return self.sweep.analyses["best"] if self.sweep else None

    @property
    def verdict(self) -> list[str]:
        """Accuracy, cost, data efficiency and speed, a line each, as far as there are records."""
        return [*self.accuracy_verdict, *self.speed_verdict]

    @property
    def accuracy_verdict(self) -> list[str]:
        """Accuracy, cost and data efficiency."""
        return verdict(self.comparison, self.efficiency)

    @property
    def speed_verdict(self) -> list[str]:
        """The best of JAX over the best of PyTorch."""
        return verdict_lines(self.speed) if self.speed else []

    @property
    def scores(self) -> list[Score]:
        """Every prediction, scored."""
        return score_predictions(self.comparison)

    @property
    def runs(self) -> list[RunRecord]:
        """Every run."""
        return [*self.comparison, *(self.sweep.runs.values() if self.sweep else ()), *self.agreement]

    def tables(self) -> dict[str, list[Table]]:
        """The tables of each experiment that there are records of."""
        compared = [comparison_table(self.comparison), accuracy_time_table(self.comparison)] if self.comparison else []
        tables = {
            "summary": [summary_table(self.comparison, self.speed)] if self.comparison else [],
            "full_comparison": [table for table in compared if table.rows],
            "data_efficiency": efficiency_tables(self.sweep) if self.sweep else [],
            "framework_agreement": [agreement_table(self.agreement)] if self.agreement else [],
            "training_speed": speed_tables(self.speed) if self.speed else [],
            "training_speed_details": detail_tables(self.speed, self.comparison) if self.speed else [],
        }
        return {name: found for name, found in tables.items() if found}

    def blocks(self) -> dict[str, str]:
        """Verdicts and tables as Markdown, by the name of the block that holds them."""
        blocks = {name: "\n\n".join(table.markdown() for table in found) for name, found in self.tables().items()}
        for name, sentences in (("verdict", self.accuracy_verdict), ("speed_verdict", self.speed_verdict)):
            if sentences:
                blocks[name] = "\n".join(f"- {sentence}" for sentence in sentences)
        return blocks

    def summary(self) -> dict[str, Any]:
        """The numbers: `summary.json`."""
        summary: dict[str, Any] = {"verdict": self.verdict}
        if self.comparison:
            summary["full_comparison"] = summarise(self.comparison)
            summary["predictions"] = [score.summary() for score in self.scores]
        if self.sweep:
            summary["data_efficiency"] = summarise_sweep(self.sweep)
        if self.speed:
            summary["training_speed"] = self.speed.summary()
        return summary


def gather(folders: Sequence[Path]) -> Results:
    """Read and merge the records of several folders, each with runs.jsonl, or with cells.jsonl and what belongs to it.

    Raises:
        InputError: a folder holds no records, records that cannot be read, or records that are no one experiment with
            the others': the message names what differs.
    """
    records: list[RunRecord] = []
    studies: list[tuple[Path, list[CellRecord]]] = []
    others: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        found = 0
        if (folder / "runs.jsonl").exists():
            loaded = load_records(folder / "runs.jsonl")
            found += len(loaded)
            # A copy of a record that is there already is no second run.
            records += [record for record in loaded if record not in records]
        if (folder / "cells.jsonl").exists():
            studies.append((folder, load_cells(folder / "cells.jsonl")))
            if len(studies) == 1:
                paths = {name: folder / f"{name}.jsonl" for name in LINES}
                others = {
                    name: load_lines(path, LINES[name], "measurement") for name, path in paths.items() if path.exists()
                }
            found += len(studies[-1][1])
        if not found:
            kind = "holds no records, in runs.jsonl or cells.jsonl" if folder.is_dir() else "no such folder"
            raise InputError(f"{folder}: {kind}; name a folder that an experiment wrote")
    of_studies = itertools.chain.from_iterable(cells for _, cells in studies)
    titles = {
        record.data_fingerprint: f"{record.dataset_title} ({record.data_fingerprint[:8]})"
        for record in [*records, *of_studies]
    }
    if len(titles) > 1:
        raise InputError(f"runs of different images: {' and '.join(sorted(titles.values()))}; make a report of each")
    # The folders' order decides nothing of runs; of two speed studies, the first is the one that tables are of.
    records.sort(key=lambda r: (get_args(ModelName).index(r.config.model), r.train_images, r.config.training.seed))
    of = {name: [r for r in records if r.experiment == name] for name in {r.experiment for r in records}}
    comparison, swept = of.get("full_comparison", []), of.get("data_efficiency", [])
    check_comparable(comparison)
    # What one page puts side by side is of one recipe, but for what the experiments differ in by their design.
    check_one_recipe([*comparison[:1], *swept[:1]], "train_size", "subsets", "epochs", "epoch_images")
    sweep = build_sweep(swept) if swept else None
    speed = SpeedStudy(*map(to_frame, _tell_apart(studies)), **others) if studies else None
    return Results(comparison, sweep, of.get("framework_agreement", []), speed)


def _tell_apart(
    studies: Sequence[tuple[Path, list[CellRecord]]],
) -> tuple[list[CellRecord], list[CellRecord], list[CellRecord]]:
    """The first speed study; its repetition; one under other settings of the allocator. Empty: there is none."""
    first = studies[0][1]
    again: list[CellRecord] = []
    other_malloc: list[CellRecord] = []
    for folder, cells in studies[1:]:
        if any(cell in first for cell in cells):
            raise InputError(f"{folder}: holds measurements of the first folder's, which confirm nothing; leave it out")
        place = again if _malloc(cells) == _malloc(first) else other_malloc
        if place:
            raise InputError(
                f"{folder}: one folder of speed measurements too many; give one, its repetition, and one measured with "
                "--malloc default"
            )
        place += cells
    return first, again, other_malloc


def _malloc(cells: Sequence[CellRecord]) -> str:
    return next((cell.manifest["malloc"] for cell in cells if not cell.message), "")
