"""Frames as tables for a page or as Markdown: a column is a title, a column of the frame, and how it is written."""

import dataclasses
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import pandas as pd

Columns = dict[str, tuple[Any, Callable[[Any], str]]]
"""By title: the frame's column, and what makes a text of a value."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells and notes as a person reads them; plain text, in which nothing is markup."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    """Paragraphs below the table."""
    title: str = ""

    def markdown(self) -> str:
        """As Markdown: title, table, notes."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([f"{self.title}:", table, *self.notes] if self.title else [table, *self.notes])


def make_table(
    title: str,
    rows: pd.DataFrame | Sequence[Any],
    columns: Columns,
    *notes: str,
    absent: str = "-",
) -> Table:
    """A table of a frame, or of objects whose attributes are the columns; of no rows it is empty.

    Args:
        notes: paragraphs; empty ones are left out.
        absent: stands for what was not measured.
    """

    def values(column: Any) -> list[Any]:
        if isinstance(rows, pd.DataFrame):
            return list(rows[column])
        return [attrgetter(column)(row) for row in rows]

    if not len(rows):
        return Table((), [], [])
    texts = [[absent if _missing(v) else text(v) for v in values(column)] for column, text in columns.values()]
    return Table(tuple(columns), list(zip(*texts, strict=True)), [note for note in notes if note], title)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
