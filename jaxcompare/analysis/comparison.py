"""Runs beside each other: which may be compared, what a full comparison comes to, who is ahead in it."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from jaxcompare.analysis.statistics import Estimate, estimate
from jaxcompare.config import InputError, ModelName, RunConfig
from jaxcompare.records import UNWRITTEN, RunRecord

LABELS: dict[ModelName, str] = {"cnn": "CNN", "vit": "ViT"}

Metric = Literal["best", "final"]
METRICS: dict[Metric, Callable[[RunRecord], float]] = {
    "best": lambda record: record.best_test_accuracy,
    "final": lambda record: record.final_test_accuracy,
}
"""`best` is the recipe's: of the best epoch, chosen on the test images, hence optimistic."""

Pair = Mapping[ModelName, Sequence[RunRecord]]
"""Complete runs of both models, of the same seeds in the same order."""


def by_model(records: Sequence[RunRecord]) -> dict[ModelName, list[RunRecord]]:
    """Records by model, in their order."""
    grouped: dict[ModelName, list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(record.config.model, []).append(record)
    return grouped


def pair_up(records: Sequence[RunRecord]) -> Pair | None:
    """The complete runs of both models whose seed both have; None if there is none."""
    runs = {
        model: {r.config.training.seed: r for r in of_model if r.status == "complete"}
        for model, of_model in by_model(records).items()
    }
    seeds = sorted(set(runs.get("cnn", ())) & set(runs.get("vit", ())))
    return {model: [runs[model][seed] for seed in seeds] for model in LABELS} if seeds else None


def difference(pair: Pair, metric: Metric = "best") -> Estimate:
    """CNN minus ViT in test accuracy, a fraction, paired by seed."""
    value = METRICS[metric]
    return estimate([value(cnn) - value(vit) for cnn, vit in zip(pair["cnn"], pair["vit"], strict=True)])


def leader(difference: Estimate) -> ModelName | None:
    """Who is ahead by a difference CNN minus ViT: by its interval or, of one seed, by its sign; None: not shown."""
    sign = difference.sign if difference.interval else (difference.mean > 0) - (difference.mean < 0)
    return "cnn" if sign == 1 else "vit" if sign == -1 else None


def faster(pair: Pair) -> tuple[ModelName, float] | None:
    """The model with less time per epoch, and how many times as long the other takes.

    None if the runs were not executed alike, or if the two take the same time to within rounding for a reader (1 %).
    """
    if not executed_alike([*pair["cnn"], *pair["vit"]]):
        return None
    cnn, vit = (mean(r.epoch_time_s for r in pair[model]) for model in LABELS)
    if max(cnn, vit) < 1.01 * min(cnn, vit):
        return None
    return ("cnn", vit / cnn) if cnn < vit else ("vit", cnn / vit)


def mean(values: Iterable[float]) -> float:
    """Mean over seeds; NaN if a value is missing."""
    return statistics.fmean(values)


def seconds_text(seconds: float) -> str:
    """For a reader: a tenth of a second, or two significant digits of less than one."""
    return f"{seconds:.1f}" if seconds >= 1 or not seconds else f"{seconds:.2g}"


def finite(value: float) -> float | None:
    """As JSON has it: None for what was not measured."""
    return value if math.isfinite(value) else None


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Raise InputError, naming what differs, unless the records are one comparison: one recipe, the same seeds for
    each model, each once."""
    check_one_recipe(records)
    check_one_commit(records)
    seeds = {model: [r.config.training.seed for r in runs] for model, runs in by_model(records).items()}
    for model, of_model in seeds.items():
        if len(set(of_model)) < len(of_model):
            raise InputError(f"several runs of {model} from one seed; use one --out for each comparison")
        if sorted(of_model) != sorted(next(iter(seeds.values()))):
            raise InputError(f"runs of different recipes: seeds are {seeds}; train the missing ones")


def check_one_recipe(records: Sequence[RunRecord], *but: str) -> None:
    """Raise InputError, naming what differs, unless all records share everything that decides a run's numbers: all but
    the model, the framework, the seed, and the fields named in `but`."""
    counts = ("test_images", "num_classes", *(() if "train_size" in but else ("train_images",)))
    for other in records[1:]:
        found = differing(records[0], other.config, other.data_fingerprint, *but)
        like = next(record for record in records if record.config.model == other.config.model)
        for name in (*counts, "params"):
            one, another = getattr(like if name == "params" else records[0], name), getattr(other, name)
            found = found or ((name, one, another) if one != another else None)
        if found:
            raise InputError("runs of different recipes: {} is {} in one, {} in another".format(*found))


def check_one_commit(records: Sequence[RunRecord]) -> None:
    """Raise InputError unless all complete runs are of one commit: what another trained may differ by more than its
    config says."""
    commits = dict.fromkeys(record.git_commit for record in records if record.status == "complete")
    if len(commits) > 1:
        raise InputError(f"runs of different commits: {' and '.join(map(str, commits))}; train all at one")


def differing(record: RunRecord, config: RunConfig, fingerprint: str, *but: str) -> tuple[str, object, object] | None:
    """The first thing that decides a run's numbers and that a record and a config on some images do not share: its
    name and both values. The model, the framework, the seed and the fields named in `but` may differ."""
    one, other = _recipe(record.config, record.data_fingerprint), _recipe(config, fingerprint)
    return next(((name, one[name], other[name]) for name in one if name not in but and one[name] != other[name]), None)


def _recipe(config: RunConfig, fingerprint: str) -> Mapping[str, object]:
    values = dataclasses.asdict(config)
    execution = {name: values["execution"][name] for name in ("input", "precision")}
    recipe = {"images": fingerprint, "epoch_images": config.epoch_images}
    recipe |= values["training"] | values["data"] | execution
    # The fingerprint has which images; how many processes prepare them changes no number; a recipe has no seed.
    return {name: value for name, value in recipe.items() if name not in (*UNWRITTEN, "workers", "seed")}


def executed_alike(records: Sequence[RunRecord]) -> bool:
    """Whether the times of runs can stand beside each other: one engine, one machine, as many seeds in a program."""
    ways = {
        (
            r.config.execution.engine,
            r.execution.get("seeds", 1),
            r.execution.get("devices", 1),
            *(r.environment[name] for name in ("cpu", "cpu_cores", "device")),
            r.environment["versions"].get("jax"),
        )
        for r in records
    }
    return len(ways) == 1


def time_to_accuracy(record: RunRecord, target: float) -> float:
    """Seconds in epochs until a run's test accuracy was first at least `target`, a fraction; infinite if it never was.

    Evaluation and compilation are not in it; add `record.compile_time_s` for the latter.
    """
    epochs = epochs_to_accuracy(record, target)
    return math.inf if epochs is None else sum(record.history.epoch_time_s[:epochs])


def epochs_to_accuracy(record: RunRecord, target: float) -> int | None:
    """Epochs until a run's test accuracy was first at least `target`, a fraction; None: it never was."""
    found = (epoch for epoch, accuracy in enumerate(record.history.test_accuracy, 1) if accuracy >= target)
    return next(found, None)


def summarise(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What a full comparison comes to, by model: `summary.json`. Accuracies are fractions, means over seeds; None:
    nothing was measured."""
    return {
        "models": {
            model: {
                "params": runs[0].params,
                "best_test_accuracy": finite(mean(r.best_test_accuracy for r in runs)),
                "final_test_accuracy": finite(mean(r.final_test_accuracy for r in runs)),
                "epoch_time_s": finite(mean(r.epoch_time_s for r in runs)),
                "compile_time_s": finite(mean(r.compile_time_s for r in runs)),
                "compiled": runs[0].compiled,
                "epochs": min(len(r.history.test_accuracy) for r in runs),
                "status": next((r.status for r in runs if r.status != "complete"), "complete"),
                "seeds": {str(r.config.training.seed): finite(r.best_test_accuracy) for r in runs},
            }
            for model, runs in by_model(records).items()
        },
        "dataset": records[0].dataset_title if records else None,
        "train_images": records[0].train_images if records else None,
    }
