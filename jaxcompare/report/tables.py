"""Records as a summary and as Markdown tables."""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from jaxcompare.config import Framework, InputError, InputPlace, ModelName
from jaxcompare.records import RunRecord, write_atomically

LABELS = {"cnn": "CNN", "vit": "ViT", "jax": "JAX", "torch": "PyTorch eager"}


def by_model(records: Sequence[RunRecord]) -> dict[ModelName, list[RunRecord]]:
    """Records by model, in their order."""
    grouped: dict[ModelName, list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(record.config.model, []).append(record)
    return grouped


def mean(values: Iterable[float]) -> float:
    """Mean over seeds; NaN if a value is missing."""
    return statistics.fmean(values)


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Raise InputError, naming what differs, unless the records are one comparison: one recipe, the same seeds for
    each model, each once."""
    _check_same([_recipe(record) for record in records])
    seeds = {model: [r.config.training.seed for r in runs] for model, runs in by_model(records).items()}
    for model, of_model in seeds.items():
        if len(set(of_model)) < len(of_model):
            raise InputError(f"several runs of {model} from one seed; use one --out for each comparison")
        if sorted(of_model) != sorted(next(iter(seeds.values()))):
            raise InputError(f"runs of different recipes: seeds are {seeds}; train the missing ones")


def _recipe(record: RunRecord) -> dict[str, object]:
    """Everything but the model, the framework and the seed that decides a run's numbers."""
    config = dataclasses.asdict(record.config)
    execution = {name: config["execution"][name] for name in ("input", "precision")}
    recipe = {"images": record.data_fingerprint} | config["training"] | config["data"] | execution
    return recipe | {"data_dir": None, "seed": None}


def _check_same(facts: Sequence[Mapping[str, object]]) -> None:
    for other in facts[1:]:
        for name, value in other.items():
            if value != facts[0][name]:
                raise InputError(f"runs of different recipes: {name} is {facts[0][name]} in one, {value} in another")


def _share(record: RunRecord) -> str:
    seeds = record.execution.get("seeds", 1)
    return f"; a run's share of a program of {seeds} seeds" if seeds > 1 else ""


def executed_alike(records: Sequence[RunRecord]) -> bool:
    """Whether the times of runs can stand beside each other: one engine, one machine, as many seeds in a program."""
    ways = {
        (
            r.config.execution.engine,
            r.execution.get("seeds", 1),
            r.execution.get("devices", 1),
            *(r.environment[name] for name in ("cpu", "cpu_cores", "device")),
        )
        for r in records
    }
    return len(ways) == 1


def summarise(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What a comparison comes to, by model: `summary.json`. Accuracies are fractions, means over seeds; None: nothing
    was measured."""

    def number(values: Iterable[float]) -> float | None:
        value = mean(values)
        return value if math.isfinite(value) else None

    return {
        "models": {
            model: {
                "params": runs[0].params,
                "best_test_accuracy": number(r.best_test_accuracy for r in runs),
                "final_test_accuracy": number(r.final_test_accuracy for r in runs),
                "epoch_time_s": number(r.epoch_time_s for r in runs),
                "compile_time_s": number(r.compile_time_s for r in runs),
                "compiled": runs[0].compiled,
                "epochs": min(len(r.history.test_accuracy) for r in runs),
                "status": next((r.status for r in runs if r.status != "complete"), "complete"),
                "seeds": {str(r.config.training.seed): number([r.best_test_accuracy]) for r in runs},
            }
            for model, runs in by_model(records).items()
        },
        "dataset": records[0].dataset_title if records else None,
        "train_images": records[0].train_images if records else None,
    }


def comparison_table(records: Sequence[RunRecord]) -> str:
    """One row per model: the full comparison."""
    rows, seeds, alike = [], sorted({r.config.training.seed for r in records}), executed_alike(records)

    def percent(values: Sequence[float]) -> str:
        spread = f" ({100 * min(values):.2f} to {100 * max(values):.2f})" if len(values) > 1 else ""
        return f"{100 * mean(values):.2f}{spread} %"

    for model, runs in by_model([r for r in records if r.history.test_accuracy]).items():
        epochs = min(len(r.history.test_accuracy) for r in runs)
        rows.append(
            (
                LABELS[model],
                f"{runs[0].params:,}",
                f"{epochs} of {runs[0].config.training.epochs}",
                percent([r.best_test_accuracy for r in runs]),
                percent([r.final_test_accuracy for r in runs]),
                f"{mean(r.epoch_time_s for r in runs):.1f}" if alike else "executed differently",
                f"{mean(r.compile_time_s for r in runs):.1f} ({runs[0].compiled})",
            )
        )
    header = ("Model", "Parameters", "Epochs", "Best test accuracy¹", "Final", "Seconds per epoch²", "Compile, s³")
    first = records[0]
    execution = first.config.execution
    one = len(seeds) == 1
    repeats = f"seed {seeds[0]}, one run a model, so no interval" if one else f"mean (and range) of seeds {seeds}"
    return markdown(header, rows) + (
        f"\n\nData: {first.dataset_title}, {first.train_images:,} training and {first.test_images:,} test images; "
        f"{repeats}. Execution: {execution.engine} engine, {execution.input} input, {execution.precision}. "
        f"{machine(first.environment)}\n"
        "¹ Of the best epoch, chosen on the test images, as the recipe does: optimistic. "
        f"² Mean, training only, evaluation and compilation excluded{_share(first)}. "
        "³ Trace, lower and compile of all programs, before the first epoch; cold: compiled anew, warm: from the cache."
    )


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
"""What must learn alike, and within how many points of accuracy."""


def _best_by_seed(arm: Arm, runs: Sequence[RunRecord]) -> dict[int, float]:
    """Best test accuracy, in per cent, of each complete run."""
    held = [r for r in runs if arm.holds(r)]
    best = {r.config.training.seed: 100 * r.best_test_accuracy for r in held}
    if len(best) < len(held):
        raise InputError(f"{LABELS[held[0].config.model]}: several runs of {arm.title} from one seed; keep one")
    return best


def agreement_table(records: Sequence[RunRecord]) -> str:
    """Mean best accuracies of two kinds of runs of one recipe, and the interval of their difference.

    Raises:
        InputError: runs of different recipes, several of one seed, or seeds that one side lacks.
    """
    _check_same([_recipe(record) | {"input": None} for record in records])
    rows = []
    for one, other, points in AGREEMENTS:
        for model, runs in by_model(records).items():
            best = [_best_by_seed(arm, runs) for arm in (one, other)]
            found = [sorted(side) for side in best]
            if found[0] != found[1] or not found[0]:
                raise InputError(
                    f"{LABELS[model]}: complete seeds are {found[0]} of {one.title}, {found[1]} of {other.title}; "
                    "train the missing ones"
                )
            pairs = [[side[seed] for seed in found[0]] for side in best]
            difference = mean(pairs[0]) - mean(pairs[1])
            interval = "one seed, no interval"
            if len(found[0]) > 1:
                low, high = stats.ttest_rel(*pairs).confidence_interval(0.95)
                interval = f"{low:+.2f} to {high:+.2f}"
            each = (f"{mean(side):.2f} ({', '.join(f'{value:.2f}' for value in side)})" for side in pairs)
            verdict = f"{'yes' if abs(difference) <= points else 'no'} ({points:g})"
            compared = f"{one.title} / {other.title}"
            rows.append((LABELS[model], compared, *each, f"{difference:+.2f}", interval, verdict, str(len(found[0]))))
    first = records[0]
    header = ("Model", "Compared", "First, %", "Second, %", "Difference, points", "95 % interval", "Within", "Seeds")
    return markdown(header, rows) + (
        f"\n\nMean best test accuracy (and each seed's, from {first.config.training.seed} on). "
        f"Data: {first.dataset_title}, {first.train_images:,} training and {first.test_images:,} test images, "
        f"{first.config.training.epochs} epochs. The interval is Student's for the mean of the differences, paired by "
        "seed. Best: of the best epoch, chosen on the test images."
    )


def machine(environment: Mapping[str, Any]) -> str:
    """One sentence: what a number was measured on."""
    versions, cpu = environment["versions"], f"{environment['cpu']}, {environment['cpu_cores']} cores"
    device = cpu if environment["backend"] == "cpu" else environment["device"]
    return f"Machine: {device}; jax {versions['jax']}, flax {versions['flax']}, torch {versions['torch']}."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_blocks(document: Path, blocks: Mapping[str, str]) -> None:
    """Rewrite what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a Markdown file.

    Raises:
        InputError: the file has no such pair of marks.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{document}: cannot be read ({error.strerror})") from error
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not pattern.search(text):
            raise InputError(f"{document}: no block between <!-- {name} --> and <!-- /{name} -->; add the two marks")
        text = pattern.sub(lambda match, block=block: match[1] + block + "\n" + match[2], text)
    write_atomically(document, text)
