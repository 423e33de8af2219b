"""What was measured, gathered from folders of records: the one thing that a report is made of."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jaxcompare.analysis.comparison import check_comparable, check_one_recipe, summarise
from jaxcompare.analysis.conclusions import verdict
from jaxcompare.analysis.data_efficiency import Efficiency, Sweep, analyse, build_sweep, summarise_sweep
from jaxcompare.analysis.predictions import Score, score_predictions
from jaxcompare.analysis.speed import check_one_measurement, groups, measured
from jaxcompare.analysis.speed_summary import summarise_speed
from jaxcompare.cells import CellRecord, load_cells
from jaxcompare.config import InputError, ModelName
from jaxcompare.ranges import BESIDE_CELLS, check_ranges
from jaxcompare.records import RunRecord, load_lines, load_records
from jaxcompare.report.agreement import agreement_table
from jaxcompare.report.speed import speed_tables
from jaxcompare.report.speed_controls import control_sentences
from jaxcompare.report.speed_details import detail_tables
from jaxcompare.report.speed_notes import setting
from jaxcompare.report.speed_sentences import conclusions
from jaxcompare.report.summary import summary_table
from jaxcompare.report.tables import Table, accuracy_time_table, comparison_table, efficiency_tables

PAGE_ONLY = ("training_speed_details",)
"""Tables for the page alone: too many for a Markdown file."""


NAMES = {"inputs": ("pipeline",), "phases": ("cell",), "costs": ("model",)}
"""What a report takes from the lines of a speed study's files beside cells.jsonl, but for their numbers."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Records by experiment; what was not measured is empty or None."""

    comparison: Sequence[RunRecord] = ()
    sweep: Sweep | None = None
    agreement: Sequence[RunRecord] = ()
    cells: Sequence[CellRecord] = ()
    cells_again: Sequence[CellRecord] = ()
    """Another study's, which confirms this one's ratios or does not."""
    cells_other_malloc: Sequence[CellRecord] = ()
    """A study's whose allocator was told something else."""
    inputs: Sequence[dict[str, Any]] = ()
    phases: Sequence[dict[str, Any]] = ()
    costs: Sequence[dict[str, Any]] = ()

    @property
    def efficiency(self) -> Efficiency | None:
        """The sweep in the recipe's metric."""
        return analyse(self.sweep) if self.sweep else None

    @property
    def verdict(self) -> list[str]:
        """Accuracy, cost, data efficiency, speed and what it owes to something else than compiling, a paragraph
        each, as far as there are records."""
        return [*self.accuracy_verdict, *self.speed_verdict]

    @property
    def accuracy_verdict(self) -> list[str]:
        """Accuracy, cost and data efficiency."""
        return verdict(self.comparison, self.efficiency)

    @property
    def speed_verdict(self) -> list[str]:
        """Speed, and what it owes to something else than compiling."""
        timed = measured(self.cells)
        best = [sentence for of in groups(timed) for sentence in conclusions(timed, *of, self.cells_again)[:1]]
        lead = [f"Speed ({setting(timed)}):"] if best else []
        owed = [f"Of the same study: {' '.join(control_sentences(timed))}"] if control_sentences(timed) else []
        return [" ".join(sentences) for sentences in ([*lead, *best], owed) if sentences]

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
        speed = (self.cells, self.cells_again, self.cells_other_malloc)
        compared = [comparison_table(self.comparison), accuracy_time_table(self.comparison)] if self.comparison else []
        tables = {
            "summary": [summary_table(self.comparison, self.cells)] if self.comparison else [],
            "full_comparison": [table for table in compared if table.rows],
            "data_efficiency": efficiency_tables(self.sweep) if self.sweep else [],
            "framework_agreement": [agreement_table(self.agreement)] if self.agreement else [],
            "training_speed": speed_tables(*speed) if self.cells else [],
            "training_speed_details": detail_tables(self.cells, self.phases, self.inputs, self.costs, self.comparison)
            if self.cells
            else [],
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
        if self.cells:
            summary["training_speed"] = summarise_speed(self.cells, self.cells_again, self.cells_other_malloc)
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
                paths = {name: folder / f"{name}.jsonl" for name in NAMES}
                others = {name: _load_others(name, path) for name, path in paths.items() if path.exists()}
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
    # The folders' order decides nothing of runs; of two speed studies, the first is the one that is stated.
    records.sort(key=lambda r: (get_args(ModelName).index(r.config.model), r.train_images, r.config.training.seed))
    of = {name: [r for r in records if r.experiment == name] for name in {r.experiment for r in records}}
    comparison, swept = of.get("full_comparison", []), of.get("data_efficiency", [])
    check_comparable(comparison)
    # What one page puts side by side is of one recipe, but for what the experiments differ in by their design.
    check_one_recipe([*comparison[:1], *swept[:1]], "train_size", "subsets", "epochs", "epoch_images")
    sweep = build_sweep(swept) if swept else None
    cells, again, other_malloc = _tell_apart(studies)
    for study in (cells, again, other_malloc):
        if measured(study):
            check_one_measurement(measured(study))
    return Results(comparison, sweep, of.get("framework_agreement", []), cells, again, other_malloc, **others)


def _load_others(name: str, path: Path) -> list[dict[str, Any]]:
    def parse(value: dict[str, Any]) -> dict[str, Any]:
        if missing := [field for field in (*NAMES[name], *BESIDE_CELLS[name]) if field not in value]:
            raise ValueError(f"lacks {missing}")
        check_ranges(value, BESIDE_CELLS[name])
        return value

    return load_lines(path, parse, "measurement")


def _tell_apart(
    studies: Sequence[tuple[Path, list[CellRecord]]],
) -> tuple[list[CellRecord], list[CellRecord], list[CellRecord]]:
    """The speed study that is stated, which comes first; its repetition; one whose allocator was told something else.
    Empty: there is none."""
    stated: list[CellRecord] = studies[0][1] if studies else []
    again: list[CellRecord] = []
    other_malloc: list[CellRecord] = []
    for folder, cells in studies[1:]:
        if any(cell in stated for cell in cells):
            raise InputError(f"{folder}: holds measurements of the first folder's, which confirm nothing; leave it out")
        place = again if _malloc(cells) == _malloc(stated) else other_malloc
        if place:
            raise InputError(
                f"{folder}: one folder of speed measurements too many; give one, its repetition, and one measured with "
                "--malloc default"
            )
        place += cells
    return stated, again, other_malloc


def _malloc(cells: Sequence[CellRecord]) -> str:
    return next((cell.manifest["malloc"] for cell in cells if not cell.message), "")
