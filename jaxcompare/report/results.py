"""What was measured, gathered from folders of records: the one thing that a report is made of."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from jaxcompare.analysis.comparison import check_comparable, check_one_recipe
from jaxcompare.analysis.data_efficiency import Efficiency, Sweep, build_sweep, summarise_sweep
from jaxcompare.analysis.outcome import MODELS, summarise
from jaxcompare.analysis.predictions import Score, score_predictions
from jaxcompare.analysis.representations import STUDY, Representations, read_representations
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cell_frame import to_frame as frame_of_cells
from jaxcompare.cell_records import CellRecord, load_cells, load_measurements
from jaxcompare.config import InputError, RunConfig
from jaxcompare.records import RunRecord, load_records
from jaxcompare.report.answers import answer_questions, verdict
from jaxcompare.report.learned import learned_blocks
from jaxcompare.report.run_tables import (
    accuracy_time_table,
    agreement_table,
    comparison_table,
    efficiency_tables,
    summary_table,
    variants_table,
)
from jaxcompare.report.speed_tables import allocator_table, detail_tables, speed_tables, verdict_lines
from jaxcompare.report.tables import Table
from jaxcompare.run_frame import per_run, to_frame

PAGE_ONLY = ("training_speed_details", "findings")
"""Blocks for the page alone: too long for a Markdown file."""


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """What each experiment measured; what there is nothing of is empty or None. Everything is computed once."""

    comparison: pd.DataFrame = dataclasses.field(default_factory=lambda: to_frame([]))
    """A row a run and epoch, see `run_frame`."""
    sweeps: Sequence[Sweep] = ()
    """The one that is reported; then those with other subsets, or another budget, that stand beside it."""
    agreement: pd.DataFrame = dataclasses.field(default_factory=lambda: per_run(to_frame([])))
    """A row a run."""
    speed: SpeedStudy | None = None
    learned: Representations | None = None
    """What the networks learned."""

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The full comparison, a row a run."""
        return per_run(self.comparison)

    @property
    def sweep(self) -> Sweep | None:
        """The one that is reported."""
        return self.sweeps[0] if self.sweeps else None

    @property
    def efficiency(self) -> Efficiency | None:
        """The sweep in the recipe's metric."""
        return self.sweep.analyses["best"] if self.sweep else None

    @property
    def verdict(self) -> list[str]:
        """Accuracy, cost, data efficiency and speed, a line each, as far as there are records."""
        return [*self.accuracy_verdict, *self.speed_verdict]

    @cached_property
    def accuracy_verdict(self) -> list[str]:
        """Accuracy, cost and data efficiency."""
        return verdict(self.compared, self.efficiency)

    @cached_property
    def answers(self) -> dict[str, str]:
        """The recipe's questions, with their answers."""
        return answer_questions(self.compared, self.efficiency)

    @cached_property
    def speed_verdict(self) -> list[str]:
        """The best of JAX over the best of PyTorch."""
        return verdict_lines(self.speed) if self.speed else []

    @cached_property
    def scores(self) -> list[Score]:
        """Every prediction, beside what was measured."""
        return score_predictions(self.compared)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every run, a row each."""
        return together(self.compared, *(sweep.runs for sweep in self.sweeps), self.agreement)

    @cached_property
    def tables(self) -> dict[str, list[Table]]:
        """The tables of each experiment that there are records of."""
        tables: dict[str, list[Table]] = {}
        if len(self.comparison):
            tables["summary"] = [summary_table(self.compared, self.speed)]
            tables["full_comparison"] = [comparison_table(self.compared), accuracy_time_table(self.comparison)]
        if self.sweep:
            tables["data_efficiency"] = [*efficiency_tables(self.sweep), variants_table(self.sweeps)]
        if len(self.agreement):
            tables["framework_agreement"] = [agreement_table(self.agreement)]
        if self.speed:
            tables["training_speed"] = speed_tables(self.speed)
            tables["training_speed_allocator"] = [allocator_table(self.speed)]
            tables["training_speed_details"] = detail_tables(self.speed)
        return {name: some for name, found in tables.items() if (some := [table for table in found if table.rows])}

    def blocks(self) -> dict[str, str]:
        """Answers, verdict and tables as Markdown, by the name of the block that holds them."""
        blocks = {name: "\n\n".join(table.markdown() for table in found) for name, found in self.tables.items()}
        answers = [f"**{question}** {answer}" for question, answer in self.answers.items()]
        for name, sentences in (("answers", answers), ("speed_verdict", self.speed_verdict)):
            if sentences:
                blocks[name] = "\n".join(f"- {sentence}" for sentence in sentences)
        if self.learned:
            blocks |= learned_blocks(self.learned)
        return blocks

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers: `summary.json`."""
        summary: dict[str, Any] = {"verdict": self.verdict}
        if len(self.comparison):
            summary["full_comparison"] = summarise(self.compared)
            summary["predictions"] = [dataclasses.asdict(score) for score in self.scores]
        if self.sweep:
            summary["data_efficiency"], *variants = map(summarise_sweep, self.sweeps)
            summary["data_efficiency_variants"] = variants
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
    learned: Representations | None = None
    for folder in folders:
        if (folder / STUDY).exists():
            if learned:
                raise InputError(f"{folder}: a second study of what the networks learned; give one")
            learned = read_representations(folder)
            continue
        loaded = load_records(folder / "runs.jsonl") if (folder / "runs.jsonl").exists() else []
        cells = load_cells(folder / "cells.jsonl") if (folder / "cells.jsonl").exists() else []
        if not loaded and not cells:
            kind = "holds no records, in runs.jsonl or cells.jsonl" if folder.is_dir() else "no such folder"
            raise InputError(f"{folder}: {kind}; name a folder that an experiment wrote")
        # A copy of a record that is there already is no second run.
        records += [record for record in loaded if record not in records]
        if cells and not studies:
            others = load_measurements(folder)
        studies += [(folder, cells)] if cells else []
    titles = {learned.study["data_fingerprint"]: learned.study["dataset"]} if learned else {}
    _check_same_images([*records, *(cell for _, cells in studies for cell in cells)], titles)
    # The first of several sweeps, and of speed studies, is the one reported; else the folders' order decides nothing.
    variants = list(dict.fromkeys(_variant(r.config) for r in records if r.experiment == "data_efficiency"))
    records.sort(key=lambda r: (MODELS.index(r.config.model), r.train_images, r.config.training.seed))
    frames = {name: to_frame([r for r in records if r.experiment == name]) for name in EXPERIMENTS}
    compared, swept, agreeing = (per_run(frame) for frame in frames.values())
    check_comparable(compared)
    of_variant = swept.config.map(_variant)
    sweeps = [build_sweep(swept[of_variant == variant]) for variant in variants]
    # What one page puts side by side is of one recipe, but for what the experiments differ in by their design.
    firsts = together(compared[:1], *(sweep.runs[:1] for sweep in sweeps))
    check_one_recipe(firsts, "train_size", "subsets", "epochs", "epoch_images")
    speed = SpeedStudy(*map(frame_of_cells, _tell_apart(studies)), **others) if studies else None
    return Results(frames["full_comparison"], sweeps, agreeing, speed, learned)


def _variant(config: RunConfig) -> tuple[object, ...]:
    """What sweeps may differ in that stand side by side."""
    return config.data.subsets, config.epoch_images


def together(*frames: pd.DataFrame) -> pd.DataFrame:
    """Frames of one kind below each other."""
    return pd.concat([frame for frame in frames if len(frame)] or [frames[0]])


EXPERIMENTS = ("full_comparison", "data_efficiency", "framework_agreement")


def _check_same_images(records: Sequence[RunRecord | CellRecord], more: dict[str, str]) -> None:
    """`more`: titles by fingerprint, of what has no records."""
    prints = more | {record.data_fingerprint: record.dataset_title for record in records}
    titles = sorted(f"{title} ({fingerprint[:8]})" for fingerprint, title in prints.items())
    if len(titles) > 1:
        raise InputError(f"runs of different images: {' and '.join(titles)}; make a report of each")


def _tell_apart(studies: Sequence[tuple[Path, list[CellRecord]]]) -> list[list[CellRecord]]:
    """The first speed study; its repetition; one under other settings of the allocator. Empty: there is none."""
    first = studies[0][1]
    found: list[list[CellRecord]] = [first, [], []]
    for folder, cells in studies[1:]:
        if any(cell in first for cell in cells):
            raise InputError(f"{folder}: holds measurements of the first folder's, which confirm nothing; leave it out")
        place = found[1 if _malloc(cells) == _malloc(first) else 2]
        if place:
            raise InputError(
                f"{folder}: one folder of speed measurements too many; give one, its repetition, and one measured with "
                "--malloc default"
            )
        place += cells
    return found


def _malloc(cells: Sequence[CellRecord]) -> str:
    return next((cell.manifest["malloc"] for cell in cells if not cell.message), "")
