"""Whether two ways of training learn alike, within a margin: the table of it."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxcompare.analysis.comparison import LABELS, by_model, check_one_recipe, mean
from jaxcompare.analysis.statistics import TOST_LEVEL, Equivalence, find_equivalence, seeds_needed
from jaxcompare.config import Framework, InputError, InputPlace
from jaxcompare.records import RunRecord
from jaxcompare.report.tables import Table, chance_note


@dataclasses.dataclass(frozen=True)
class Arm:
    """Runs of one kind in an agreement."""

    title: str
    framework: Framework
    input: InputPlace

    def holds(self, record: RunRecord) -> bool:
        """Whether a record is one of these runs, and complete."""
        config = record.config
        return (config.framework, config.execution.input, record.status) == (self.framework, self.input, "complete")


JAX_HOST = Arm("JAX, host input", "jax", "host")
JAX_DEVICE = Arm("JAX, device input", "jax", "device")
TORCH_HOST = Arm("PyTorch eager", "torch", "host")
AGREEMENTS = ((JAX_HOST, TORCH_HOST, 2.0), (JAX_DEVICE, JAX_HOST, 1.5))
"""What must learn alike, and within how many points of accuracy: margins fixed before JAX's runs were made."""


def agreement_table(records: Sequence[RunRecord]) -> Table:
    """Mean best accuracies of two kinds of runs of one recipe, and whether they are shown to be alike within a margin.

    Raises:
        InputError: runs of different recipes, several of one seed, or seeds that one side lacks.
    """
    check_one_recipe(records, "input")
    rows, intervals, lacking = [], 0, False
    for one, other, margin in AGREEMENTS:
        for model, runs in by_model(records).items():
            pairs = _paired(LABELS[model], [(arm, _best_by_seed(arm, runs)) for arm in (one, other)])
            differences = [first - second for first, second in zip(*pairs, strict=True)]
            found = find_equivalence(differences, margin)
            intervals += found.interval is not None
            each = (f"{mean(side):.2f} ({', '.join(f'{value:.2f}' for value in side)})" for side in pairs)
            compared = f"{one.title} / {other.title}"
            more = found.verdict == "not shown" and found.interval
            lacking = lacking or bool(more)
            needed = f" ({seeds_needed(differences, margin):,})" if more else ""
            rows.append((LABELS[model], compared, *each, *_cells(found, margin), f"{len(differences)}{needed}"))
    header = (
        *("Model", "Compared", "First, %", "Second, %"),
        *("Difference, points", "90 % interval", "Alike (within points)", "Seeds (needed)" if lacking else "Seeds"),
    )
    first = records[0]
    note = (
        f"Mean best test accuracy (and each seed's, from {first.config.training.seed} on); best: of the best epoch, "
        f"chosen on the test images. Data: {first.dataset_title}, {first.train_images:,} training and "
        f"{first.test_images:,} test images, {first.config.training.epochs} epochs. Alike: two one-sided t tests of "
        "the differences, paired by seed, each at 5 % (Schuirmann 1987), margins fixed before JAX's runs. Shown: the "
        "90 % interval lies within the margin; excluded: beyond it; one seed shows nothing."
    )
    if lacking:
        note += (
            " Needed: seeds of which 80 % of such studies would show it, if there is no difference and the scatter is "
            "what was found here."
        )
    notes = [note, chance_note(intervals, TOST_LEVEL), _origins(records)]
    return Table(header, rows, notes, "JAX beside PyTorch, and device beside host input")


def _best_by_seed(arm: Arm, runs: Sequence[RunRecord]) -> dict[int, float]:
    """Best test accuracy, in per cent, of each complete run."""
    held = [r for r in runs if arm.holds(r)]
    best = {r.config.training.seed: 100 * r.best_test_accuracy for r in held}
    if len(best) < len(held):
        raise InputError(f"{LABELS[held[0].config.model]}: several runs of {arm.title} from one seed; keep one")
    return best


def _paired(model: str, sides: Sequence[tuple[Arm, Mapping[int, float]]]) -> list[list[float]]:
    """Both sides' values in the order of their seeds, which are the same."""
    (one, first), (other, second) = sides
    if not first or first.keys() != second.keys():
        raise InputError(
            f"{model}: complete seeds are {sorted(first)} of {one.title}, {sorted(second)} of {other.title}; "
            "train the missing ones"
        )
    return [[side[seed] for seed in sorted(first)] for side in (first, second)]


def _cells(found: Equivalence, margin: float) -> tuple[str, str, str]:
    interval = found.interval
    ends = f"{interval.low:+.3f} to {interval.high:+.3f}" if interval else "one seed, no interval"
    return f"{found.mean:+.2f}", ends, f"{found.verdict} ({margin:g})"


def _origins(records: Sequence[RunRecord]) -> str:
    """What the runs do not share, of their commits, libraries and machines; empty: they share all of it."""
    libraries = dict.fromkeys(library for r in records for library in r.environment["versions"])
    of: dict[str, list[str]] = {
        "commits": [(r.git_commit or "unknown")[:7] for r in records],
        **{library: [str(r.environment["versions"].get(library)) for r in records] for library in libraries},
        "processors": [r.environment["cpu"] for r in records],
    }
    differing = [f"{name} {', '.join(sorted(set(values)))}" for name, values in of.items() if len(set(values)) > 1]
    return (
        f"Not all runs are of one origin, which may be part of a difference: {'; '.join(differing)}."
        if differing
        else ""
    )
