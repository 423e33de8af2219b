"""One self-contained page of everything that was measured: no script, nothing loaded from anywhere."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from jaxcompare import __version__
from jaxcompare.analysis.comparison import LABELS, by_model, executed_alike, mean, seconds_text
from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import unfinished
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cell_frame import environment_of
from jaxcompare.measure.cost import layer_costs
from jaxcompare.records import RunRecord, summary_json
from jaxcompare.report.answers import answer_questions
from jaxcompare.report.commands import rebuild_commands
from jaxcompare.report.figures import Picture, complete_comparison, data_efficiency, figure_svg, training_curves
from jaxcompare.report.results import Results
from jaxcompare.report.speed_pictures import DESIGNS, draw_speed_pictures
from jaxcompare.report.speed_tables import matrix_library_sentence
from jaxcompare.report.tables import score_rows
from jaxcompare.report.text import device_text, versions_text
from jaxcompare.report.words import say


def draw_pictures(results: Results) -> list[Picture]:
    """The figures that the results have records for."""
    pictures, efficiency = [], results.efficiency
    if results.comparison:
        said = (
            f"{_said_of_comparison(results.comparison)} Lines and bars: CNN blue and solid, ViT red, dashed or hatched."
        )
        pictures.append(
            Picture(
                "figure1_training",
                training_curves(results.comparison),
                "Figure 1. Training loss and test accuracy by epoch, and mean seconds per epoch.",
                said,
            )
        )
    if efficiency:
        pictures.append(
            Picture(
                "figure2_data_efficiency",
                data_efficiency(efficiency),
                "Figure 2. Test accuracy by number of training images, and by seconds of training on them.",
                _said_of_sweep(efficiency),
            )
        )
    if results.comparison:
        pictures.append(
            Picture(
                "figure3_comparison",
                complete_comparison(results.comparison, efficiency),
                "Figure 3. Complete comparison: parameters, best accuracy, time per epoch, data efficiency.",
                " ".join(
                    [_said_of_comparison(results.comparison), *([_said_of_sweep(efficiency)] if efficiency else [])]
                ),
            )
        )
    return [*pictures, *(draw_speed_pictures(results.speed) if results.speed else [])]


def build_page(results: Results, pictures: Sequence[Picture]) -> str:
    """The page, as HTML. Every text that comes from records is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxcompare.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables, of_speed = results.tables(), {design.name for design in DESIGNS}
    return environment.get_template("report.html.jinja").render(
        version=__version__,
        results=results,
        pictures=[(picture, _inline(picture)) for picture in pictures if picture.name not in of_speed],
        speed_pictures=[(picture, _inline(picture)) for picture in pictures if picture.name in of_speed],
        speed_tables=[table for name, found in tables.items() if name.startswith("training_speed") for table in found],
        tables={name: found for name, found in tables.items() if not name.startswith("training_speed")},
        answers=answer_questions(results.comparison, results.efficiency),
        scores=[(score.prediction.reasoning, score_rows(score)) for score in results.scores],
        machines=_machines(results),
        costs={LABELS[model]: layer_costs(model, **_shape(results)) for model in LABELS},
        limits=_limits(results),
        commands=_commands(results),
        summary=summary_json(results.summary()),
    )


def _inline(picture: Picture) -> Markup:
    """The figure as SVG that can stand beside others in one page: its ids are its own, and it has a label."""
    text = figure_svg(picture.figure, picture.name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", text)
    label = Markup('<svg role="img" aria-label="{}" ').format(picture.alternative)
    # Matplotlib has escaped its texts; the size gives way to the page's.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    return Markup(label + Markup(text[len("<svg ") :]))


def _said_of_comparison(records: Sequence[RunRecord]) -> str:
    alike = executed_alike(records)
    parts = [
        f"{LABELS[model]}: {runs[0].params:,} parameters, best test accuracy "
        f"{100 * mean(r.best_test_accuracy for r in runs):.2f} %"
        + (f", {seconds_text(mean(r.epoch_time_s for r in runs))} s per epoch." if alike else ".")
        for model, runs in by_model(records).items()
    ]
    return " ".join(parts)


def _said_of_sweep(efficiency: Efficiency) -> str:
    sizes = efficiency.sweep.sizes
    return "Test accuracy by training images. " + " ".join(
        f"{LABELS[model]}: "
        + ", ".join(f"{100 * e.mean:.1f} % at {size:,}" for size, e in zip(sizes, estimates, strict=True))
        + "."
        for model, estimates in efficiency.accuracy.items()
    )


def _machines(results: Results) -> list[tuple[str, ...]]:
    """Each machine and set of versions that runs were made on: what, device, versions, commit, when."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for record in results.runs:
        title = str(record.experiment).replace("_", " ")
        key = (title, *_machine_cells(record.environment), record.git_commit or "not known")
        rows.setdefault(key, []).append(record.started_at[:10])
    if results.speed and len(timed := measured(results.speed.frame)):
        first = timed.iloc[0]
        cells = _machine_cells(environment_of(first))
        rows["training speed", *cells, first.git_commit or "not known"] = list(timed.started_at.str[:10])
    return [
        (*key, min(days) if min(days) == max(days) else f"{min(days)} to {max(days)}") for key, days in rows.items()
    ]


def _machine_cells(environment: Mapping[str, Any]) -> tuple[str, str]:
    return device_text(environment), versions_text(environment)


def _shape(results: Results) -> dict[str, int]:
    if not results.runs:
        return {}
    first = results.runs[0]
    return {"image_size": first.config.data.image_size, "num_classes": first.num_classes}


def _limits(results: Results) -> list[str]:
    """What the evidence does not reach."""
    limits = [
        "The best epoch is chosen on the test images, as the recipe does: an optimistic figure. The final one is not.",
        "One recipe for both models, tuned for neither: constant learning rate, light augmentation, no pretraining.",
    ]
    seeds = len({record.config.training.seed for record in results.comparison})
    if seeds == 1:
        limits.append(
            "The full comparison is one run a model: its difference has no interval, and another seed's may differ."
        )
    if results.comparison and (lost := unfinished(results.comparison)):
        limits.append(say("unfinished", runs=lost))
    efficiency = results.efficiency
    if efficiency:
        count, sizes = len(efficiency.sweep.seeds), efficiency.sweep.sizes
        if count == 1:
            limits.append("Data efficiency was measured with one seed: no interval, no test.")
        else:
            limits.append(
                f"Intervals are over {count} seeds (initialisation, order, augmentation, subset); they hold nothing of "
                "other test images, hyperparameters or machines, and each has its 95 % for itself, not all together."
            )
        limits.append(f"Data efficiency was measured from {sizes[0]:,} to {sizes[-1]:,} images only.")
        if not efficiency.sweep.first.config.epoch_images:
            limits.append(
                "Every size got the same number of epochs, as in the recipe: less data is fewer optimiser steps too."
            )
        limits += [f"Left out of the data efficiency: {text}." for text in efficiency.sweep.left_out]
    if results.speed:
        repeats = results.speed.repeats
        held = "intervals hold nothing of other machines, versions or sizes of model" if repeats > 1 else "no interval"
        limits.append(f"Speed was measured on one machine, {repeats} time{'s' * (repeats > 1)} a cell: {held}.")
        timed = measured(results.speed.frame)
        limits += filter(None, (matrix_library_sentence(timed, precision) for precision in timed.precision.unique()))
    environments = {(r.environment["cpu"], r.environment["device"]) for r in results.runs}
    if len(environments) > 1:
        limits.append("The runs come from several machines; times are compared only within one.")
    return limits


def _commands(results: Results) -> list[str]:
    sweep = list(results.sweep.runs.values()) if results.sweep else []
    lines = [line for runs in (results.comparison, sweep, results.agreement) for line in rebuild_commands(runs)]
    return lines + (_speed_commands(results.speed) if results.speed else [])


def _speed_commands(study: SpeedStudy) -> list[str]:
    """Each study in a folder of its own: one folder holds one measurement."""
    frames = {"": study.frame, "_again": study.again, "_malloc": study.other_malloc}
    return [
        f"{command} --out runs/training_speed{name}"
        for name, frame in frames.items()
        if len(frame)
        for command in frame.command.unique()
    ]
