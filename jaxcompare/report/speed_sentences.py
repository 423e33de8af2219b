"""What a speed study shows, in sentences: made of its records, undecided where they do not decide."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence

from jaxcompare.analysis.attribution import Attribution
from jaxcompare.analysis.speed import (
    Ratio,
    cells_of,
    execution,
    image_times,
    in_matrix,
    interactions,
    measured,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName, Precision
from jaxcompare.report.speed_text import factor_text, model_label, ratio_text, share_text


def conclusions(records: Sequence[CellRecord], model: ModelName, precision: Precision) -> list[str]:
    """The best JAX engine over the best of PyTorch, both on device input, and over the recipe's loop; seeds over single
    runs."""
    records = measured(in_matrix(records))
    cells = [cell for cell in cells_of(records) if (cell.model, cell.precision) == (model, precision)]

    def best(some: Iterable[Cell]) -> Cell:
        return min(some, key=lambda cell: statistics.median(image_times(records, cell)))

    on_device = [cell for cell in cells if (cell.input, cell.seeds) == ("device", 1)]
    jax_cells, torch_cells = ([cell for cell in on_device if cell.framework == name] for name in ("jax", "torch"))
    if not jax_cells or not torch_cells:
        return []
    ours, theirs = best(jax_cells), best(torch_cells)
    over = time_ratio(records, ours, theirs)
    faster = _verdict(over, "JAX is slower", "JAX is faster", "undecided which is faster")
    sentences = [
        f"{model_label(model, precision)}: the best JAX engine ({execution(ours)}) takes {ratio_text(over)} of the "
        f"time of the best of PyTorch ({execution(theirs)}): {faster}."
    ]
    recipe = dataclasses.replace(theirs, engine="eager", input="recipe")
    if recipe in cells:
        longer = ratio_text(time_ratio(records, recipe, ours))
        sentences.append(f"The recipe's own loop takes {longer} times as long as that JAX engine.")
    for several in (cell for cell in cells if cell.seeds > 1):
        single = dataclasses.replace(several, seeds=1)
        if single in cells:
            per_seed = time_ratio(records, several, single)
            sentences.append(
                f"{several.seeds} seeds in one program ({execution(several)}) take {ratio_text(per_seed)} of the time "
                f"of {several.seeds} single runs: {_verdict(per_seed, 'more', 'less', 'undecided which is less')}."
            )
    return sentences


def _verdict(ratio: Ratio, above: str, below: str, undecided: str) -> str:
    """What a ratio shows; of one repeat, no more than what it happened to be."""
    found = {1: above, -1: below, 0: undecided}[ratio.direction]
    return found if ratio.interval else f"{found} in the one repeat, no interval"


def attribution_sentence(one: Attribution) -> str:
    """A speed-up, its factors and their shares in words, undecided where the records do not decide."""
    slower = "slower" if one.total.direction == -1 else "faster"
    lead = (
        f"{model_label(one.model, one.precision)}: the recipe's own loop in PyTorch eager takes "
        f"{ratio_text(one.total)} times as long as JAX's whole-epoch program"
    )
    factors = ", ".join(f"{stage.name} {factor_text(stage.factor)}" for stage in one.stages)
    by_stage = f"Times as fast, stage by stage: {factors}"
    if not one.stated:
        return f"{lead}: undecided which is faster. {by_stage}; of the whole no shares are stated."
    shares = ", ".join(f"{stage.name} {share_text(stage.share)}" for stage in one.stages if stage.share)
    alone = " One repeat, no interval." if one.total.interval is None else ""
    return f"{lead}, which is {slower}. {by_stage}; of the whole, in logarithms: {shares}.{alone}"


def interaction_sentences(records: Sequence[CellRecord]) -> list[str]:
    """Whether compiling does as much for the one model as for the other, in words."""
    sentences = []
    for cnn, ratio in interactions(records).items():
        both = (cnn, dataclasses.replace(cnn, model="vit"))
        cnn_text, vit_text = (_times_as_fast(records, cell) for cell in both)
        verdict = _verdict(ratio, "the ViT fares better", "the CNN fares better", "undecided which fares better")
        sentences.append(
            f"Beside PyTorch eager, {execution(cnn)} is {cnn_text} times as fast for the CNN and {vit_text} for the "
            f"ViT; ratio {ratio_text(ratio)}: {verdict}."
        )
    return sentences


def _times_as_fast(records: Sequence[CellRecord], cell: Cell) -> str:
    """As PyTorch eager, which was measured."""
    eager = dataclasses.replace(cell, engine="eager")
    return ratio_text(time_ratio(records, eager, cell))
