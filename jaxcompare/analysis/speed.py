"""What is compared in a speed study: which cells stand for what, and the pairs whose ratios answer its questions."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from jaxcompare.analysis.contrast import Pair, measured
from jaxcompare.cells import ON_DEVICE, RECIPE_STEPS, Cell
from jaxcompare.config import Framework, ModelName, Precision


def cells_of(frame: pd.DataFrame) -> list[Cell]:
    """Each cell once, in the order of the frame."""
    return list(frame.cell.unique()) if len(frame) else []


def groups(frame: pd.DataFrame) -> list[tuple[ModelName, Precision]]:
    """Model and precision, each pair once."""
    return list(dict.fromkeys(cell.group for cell in cells_of(frame)))


def at_main_size(frame: pd.DataFrame) -> pd.DataFrame:
    """Of the first process's batch size: a study measures all there, and sweeps over the others."""
    return frame[frame.batch_size == frame.batch_size.iloc[0]] if len(frame) else frame


def in_matrix(frame: pd.DataFrame) -> pd.DataFrame:
    """At the main batch size, without controls that change what is trained."""
    found = at_main_size(frame)
    return found[found.cell.map(lambda cell: cell.same_step).astype(bool)] if len(found) else found


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """The matrix's single runs on the device: their ratios hold nothing of the host's pipelines. Of a way that was
    measured with both inputs, the resident one."""
    found = measured(in_matrix(frame))
    if found.empty:
        return found
    cells = cells_of(found)
    doubled = found.cell.map(lambda cell: cell.input == "prepared" and cell.resident in cells)
    return found[found.input.isin(ON_DEVICE) & (found.seeds == 1) & ~doubled.astype(bool)]


def leading(frame: pd.DataFrame) -> pd.DataFrame:
    """Of what is comparable each engine's cell without options, and its fastest if that has some."""
    found = comparable(frame)
    if found.empty:
        return found
    fastest = [_fastest(rows) for _, rows in found.groupby(["model", "precision", "engine"], sort=False)]
    return found[(found.options == "") | found.cell.isin(fastest)]


def baseline(cells: Sequence[Cell], cell: Cell) -> Cell | None:
    """PyTorch eager as the recipe has it, without options, of the same model, precision and batch size, on the device,
    with the same input if it was measured with that; of a cell that trains something else, under the same control. None
    if it was not measured."""
    control = None if cell.same_step else cell.control
    eager = Cell(cell.model, "eager", "prepared", cell.precision, cell.batch_size, control=control)
    both = [eager, eager.resident]
    return next((one for one in (both[::-1] if cell.input == "resident" else both) if one in cells), None)


def best(
    frame: pd.DataFrame, like: Cell, framework: Framework, *, eager: bool = False, with_options: bool = True
) -> Cell | None:
    """The quickest way of a framework to train a cell's model: by the median, of all in the matrix that passed the gate
    and take the same steps, a single run whose batches are there before they are needed; where both frameworks have
    resident input, with that. None: none was measured.

    Args:
        like: gives model and precision.
        eager: PyTorch's eager alone.
        with_options: those too that change how a step is run.
    """
    found = measured(in_matrix(frame))
    if found.empty:
        return None
    may = (found.model == like.model) & (found.precision == like.precision) & (found.seeds == 1)
    resident = found[may & (found.input == "resident")]
    alike = resident.framework.nunique() == 2
    found = resident if alike else found[may & found.input.isin([*ON_DEVICE, "arrays"])]
    may = found.framework == framework
    if eager:
        may &= found.engine == "eager"
    if not with_options:
        may &= found.options == ""
    return _fastest(found[may])


def _fastest(rows: pd.DataFrame) -> Cell | None:
    medians = rows.groupby("cell", sort=False).image_time_s.median()
    return medians.index[medians.argmin()] if len(medians) else None


def best_eager(frame: pd.DataFrame, like: Cell) -> Cell | None:
    """What compiling has to beat: PyTorch eager with its quickest options."""
    return best(frame, like, "torch", eager=True)


def verdict_pairs(frame: pd.DataFrame) -> list[Pair]:
    """The best of JAX over the best of PyTorch, of each model and precision in which both were measured."""
    pairs = []
    for model, precision in groups(measured(in_matrix(frame))):
        ours, theirs = (best(frame, Cell(model, "step", precision=precision), name) for name in ("jax", "torch"))
        if ours and theirs:
            pairs.append(Pair("best", "the best of JAX over the best of PyTorch", (ours,), (theirs,)))
    return pairs


def plain_pairs(frame: pd.DataFrame) -> Iterator[Pair]:
    """Beside each verdict of which a side has options: the best of JAX without over PyTorch eager without."""
    for verdict in verdict_pairs(frame):
        (ours,), (theirs,) = verdict.above, verdict.below
        if ours.options or theirs.options:
            plain = best(frame, ours, "jax", with_options=False)
            eager = best(frame, ours, "torch", eager=True, with_options=False)
            if plain and eager:
                yield Pair("plain", "without options", (plain,), (eager,))


def dropout_pairs(frame: pd.DataFrame) -> Iterator[Pair]:
    """Of each model and precision measured without dropout: the best of JAX over the best of PyTorch, both without."""
    found = measured(at_main_size(frame))
    found = found[found.control == "no-dropout"] if len(found) else found
    for model, precision in groups(found):
        of = found[(found.model == model) & (found.precision == precision)]
        ours, theirs = (_fastest(of[of.framework == name]) for name in ("jax", "torch"))
        if ours and theirs:
            yield Pair("without dropout", "no dropout: the best of JAX over the best of PyTorch", (ours,), (theirs,))


def path_of(cells: Iterable[Cell], model: ModelName, precision: Precision, batch_size: int) -> dict[Cell, str]:
    """From PyTorch's own loop on the recipe's input to JAX's program of an epoch: each cell of the way with the name of
    what changes from the one before it.

    Input pipeline: batches are there before the clock starts. Library: JAX's operations one by one, traced once, in
    place of PyTorch's one by one. Compilation: plain jit, one program a step, in place of the same operations.
    Micro-batches and cores: this package's step in its place, which sums over micro-batches, has a device for each
    core, takes convolutions as products and makes its batches itself. Winograd: the CNN's on CPUs in place of those
    products. Dispatch: one call an epoch in place of one a step.
    """
    last = Cell(model, "epoch", "resident", precision, batch_size)
    recipe = dataclasses.replace(last, engine="eager", input="recipe")
    step = last.by("step")
    products = dataclasses.replace(step, options=("im2col",))
    cores = "micro-batches and cores"
    return {
        recipe: "",
        dataclasses.replace(recipe, input="prepared"): "input pipeline",
        last.by("traced"): "library",
        last.by("jit"): "compilation",
        **({products: cores, step: "Winograd"} if products in cells else {step: cores}),
        last: "dispatch",
    }


def stage_pairs(frame: pd.DataFrame) -> Iterator[Pair]:
    """Of each model and precision whose whole path was measured: its stages, the whole, and what stands beside it."""
    found = measured(frame)
    cells = set(cells_of(found))
    for model, precision in groups(found):
        path = path_of(cells, model, precision, int(frame.batch_size.iloc[0]))
        if not set(path) <= cells:
            continue
        for before, (after, name) in zip(path, list(path.items())[1:], strict=False):
            yield Pair("stage", name, (before,), (after,))
        first, *_, step, last = path
        yield Pair("whole", "all", (first,), (last,))
        fastest = best(frame, last, "torch")
        assert fastest
        yield Pair("beside", "the best of PyTorch", (first,), (fastest,))
        op, traced = last.by("op"), last.by("traced")
        yield Pair("beside", "tracing in Python", (op,), (traced,))
        step, last = (dataclasses.replace(cell, control="long-epochs") for cell in (step, last))
        yield Pair("beside", f"dispatch, {RECIPE_STEPS} steps an epoch", (step,), (last,))


def interaction_pairs(frame: pd.DataFrame) -> Iterator[Pair]:
    """For each compiled way that both models were run in: the ViT's times as fast as PyTorch eager, with the same
    options, over the CNN's."""
    cells = cells_of(comparable(frame))
    for cnn in (cell for cell in cells if cell.model == "cnn" and cell.compiled):
        vit = dataclasses.replace(cnn, model="vit")
        vit_eager, cnn_eager = baseline(cells, vit), baseline(cells, cnn)
        if vit in cells and vit_eager and cnn_eager:
            yield Pair("interaction", "ViT over CNN", (vit_eager, cnn), (vit, cnn_eager))


def pairs(frame: pd.DataFrame) -> list[Pair]:
    """All that a study compares, by kind: `over eager` as the recipe has it, `over the best` of PyTorch; the `best`
    of JAX over that, the same of `plain` cells, without options, and `without dropout`; several `seeds` in one program
    over one; each `stage` from the recipe's loop to JAX's program of an epoch (time before it over time after), the
    `whole` way and what stands `beside` it; a cell with a `change`, a control or options, over itself without; the
    `interaction`, times as fast as PyTorch eager, of the ViT over the CNN."""
    found = measured(at_main_size(frame))
    cells = cells_of(found)
    pairs = [*verdict_pairs(frame), *plain_pairs(frame), *stage_pairs(frame), *interaction_pairs(frame)]
    pairs += dropout_pairs(frame)
    for cell in cells:
        eager, fastest = baseline(cells, cell), best(frame, cell, "torch")
        if eager and eager != cell:
            pairs.append(Pair("over eager", "", (cell,), (eager,)))
        if fastest and fastest != cell and cell.same_step:
            pairs.append(Pair("over the best", "", (cell,), (fastest,)))
        if cell.seeds > 1:
            single = dataclasses.replace(cell, seeds=1)
            pairs.append(Pair("seeds", f"{cell.seeds} seeds in one program", (cell,), (single,)))
        if cell.changes:
            plain = dataclasses.replace(cell, control=None, options=cell.options if cell.control else ())
            pairs.append(Pair("change", cell.changes, (cell,), (plain,)))
    return pairs
