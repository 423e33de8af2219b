"""What a speed study shows, in sentences: made of its records, undecided where they do not decide."""

import dataclasses
from collections.abc import Sequence

from jaxcompare.analysis import repeated_study
from jaxcompare.analysis.attribution import Attribution
from jaxcompare.analysis.speed import (
    Ratio,
    baseline,
    best,
    cells_of,
    comparable,
    execution,
    in_matrix,
    interactions,
    measured,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName, Precision
from jaxcompare.report.speed_text import factor_text, model_label, ratio_text, share_text


def conclusions(
    records: Sequence[CellRecord], model: ModelName, precision: Precision, again: Sequence[CellRecord] = ()
) -> list[str]:
    """The best of JAX over the best of PyTorch, and whether another study says the same; the recipe's loop over both;
    seeds over single runs."""
    records = measured(in_matrix(records))
    cells = [cell for cell in cells_of(records) if (cell.model, cell.precision) == (model, precision)]
    ours, theirs = (best(records, cells[0], framework) for framework in ("jax", "torch"))
    if not ours or not theirs:
        return []
    over = time_ratio(records, ours, theirs)
    faster = _verdict(over, "JAX is slower", "JAX is faster", "undecided which is faster")
    sentences = [
        f"{model_label(model, precision)}: the best of JAX ({execution(ours)}) takes {ratio_text(over)} of the time of "
        f"the best of PyTorch ({execution(theirs)}): {faster}{again_text(records, again, ours, theirs, over)}."
    ]
    recipe = dataclasses.replace(theirs, engine="eager", input="recipe", control=None)
    if recipe in cells:
        longer = " and ".join(
            f"{ratio_text(time_ratio(records, recipe, cell))} times as long as the best of {framework}"
            for cell, framework in ((ours, "JAX"), (theirs, "PyTorch"))
        )
        sentences.append(f"The recipe's own loop takes {longer}.")
    for several in (cell for cell in cells if cell.seeds > 1):
        single = dataclasses.replace(several, seeds=1)
        if single in cells:
            per_seed = time_ratio(records, several, single)
            sentences.append(
                f"{several.seeds} seeds in one program ({execution(several)}) take {ratio_text(per_seed)} of the time "
                f"of {several.seeds} single runs: {_verdict(per_seed, 'more', 'less', 'undecided which is less')}."
            )
    return sentences


def again_text(
    records: Sequence[CellRecord], again: Sequence[CellRecord], cell: Cell, other: Cell, ratio: Ratio
) -> str:
    """What another study makes of the best of JAX over the best of PyTorch: its own best, named where they are not this
    study's. Empty if there is none."""
    if not again:
        return ""
    when = repeated_study.when(records, again)
    ours, theirs = best(again, cell, "jax"), best(again, other, "torch")
    if not ours or not theirs:
        return f"; not measured in the {when} study"
    twice = repeated_study.Repetition(cell, other, ratio, time_ratio(again, ours, theirs))
    found = {1: "finds JAX slower", -1: "finds JAX faster", 0: "leaves it undecided"}[twice.again.direction]
    if twice.contradicted:
        found = "contradicts this"
    elif twice.same_verdict:
        found = "agrees" if ratio.direction else "does not decide it either"
    of = "" if (ours, theirs) == (cell, other) else f", {execution(ours)} over {execution(theirs)}"
    return f"; the {when} study {found}: {ratio_text(twice.again)}{of}"


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
    beside = [f"{stage.name} {factor_text(stage.factor)}" for stage in one.beside]
    also = f" Beside this path: {', '.join(beside)}." if beside else ""
    factors = ", ".join(f"{stage.name} {factor_text(stage.factor)}" for stage in one.stages)
    by_stage = f"Times as fast, stage by stage: {factors}"
    if not one.stated:
        return f"{lead}: undecided which is faster. {by_stage}; of the whole no shares are stated.{also}"
    shares = ", ".join(f"{stage.name} {share_text(stage.share)}" for stage in one.stages if stage.share)
    alone = " One repeat, no interval." if one.total.interval is None else ""
    return f"{lead}, which is {slower}. {by_stage}; of the whole, in logarithms: {shares}.{also}{alone}"


def interaction_sentences(records: Sequence[CellRecord]) -> list[str]:
    """Whether compiling does as much for the one model as for the other, in words."""
    sentences = []
    for cnn, ratio in interactions(records).items():
        both = (cnn, dataclasses.replace(cnn, model="vit"))
        cnn_text, vit_text = (_times_as_fast(records, cell) for cell in both)
        verdict = _verdict(ratio, "the ViT fares better", "the CNN fares better", "undecided which fares better")
        sentences.append(
            f"Beside PyTorch eager in the same layout, {execution(cnn)} is {cnn_text} times as fast for the CNN and "
            f"{vit_text} for the ViT; ratio {ratio_text(ratio)}: {verdict}."
        )
    return sentences


def _times_as_fast(records: Sequence[CellRecord], cell: Cell) -> str:
    """As PyTorch eager, which was measured."""
    eager = baseline(cells_of(comparable(records)), cell)
    assert eager is not None
    return ratio_text(time_ratio(records, eager, cell))
