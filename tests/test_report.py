"""Tables and figures say what the records say, and nothing else."""

import dataclasses
import html
import math
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import agreeing, record

from console import RECORD_FILES
from jaxcompare.analysis.comparison import check_comparable
from jaxcompare.analysis.statistics import Estimate, Interval, Spread, estimate_fraction
from jaxcompare.config import ExecutionConfig, InputError, TrainingConfig
from jaxcompare.lines import summary_json
from jaxcompare.measure.cost import layer_costs
from jaxcompare.models import build_model
from jaxcompare.records import History
from jaxcompare.report.blocks import replace_blocks
from jaxcompare.report.figure import save_figure
from jaxcompare.report.results import PAGE_ONLY, gather
from jaxcompare.report.run_figures import complete_comparison, training_curves
from jaxcompare.report.run_tables import (
    accuracy_time_table,
    agreement_table,
    comparison_table,
)
from jaxcompare.report.tables import make_table
from jaxcompare.report.text import device_text, number
from jaxcompare.run_frame import per_run, to_frame

RECORDS = [record("cnn"), record("vit", params=809_354, losses=(2.2,))]


def with_config(base, framework="jax", seed=42, **execution):
    config = dataclasses.replace(base.config, framework=framework, execution=ExecutionConfig("step", **execution))
    return dataclasses.replace(base, config=config.with_seed(seed))


def two_seeds():
    low = History([2.0, 1.5], [0.3] * 2, [0.3, 0.4], [2.0, 4.0], [0.1] * 2, [0.0] * 2, [0.0] * 2)
    return [
        with_config(dataclasses.replace(record(model), history=history), seed=seed, input="device")
        for model in ("cnn", "vit")
        for seed, history in ((42, RECORDS[0].history), (43, low))
    ]


def comparison(records):
    """The table's row of each model."""
    table = comparison_table(per_run(to_frame(records)))
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def test_the_comparison_table_has_means_and_intervals():
    cnn = comparison(two_seeds())["CNN"]
    assert list(cnn.values())[:4] == ["CNN", "620,362", "2 of 20", "45.00 (0.00 to 100.00) %"]
    rows = comparison(RECORDS)
    assert list(rows["CNN"].values())[2:] == ["2 of 20", "50.00 %", "50.00 %", "3.0", "3.5 (cold)"]
    assert list(rows["ViT"].values())[2:] == ["1 of 20", "40.00 %", "40.00 %", "2.0", "3.5 (cold)"]
    lost = comparison([RECORDS[0], record("vit", status="diverged", history=History())])["ViT"]
    assert lost["Epochs"] == "0 of 20"
    assert lost["Best test accuracy¹"] == "-"


def test_a_core_is_counted_in_words():
    one = {"backend": "cpu", "cpu_cores": 1, "cpu": "X"}
    assert device_text(one) == "1 core of X"
    assert device_text(one | {"cpu_cores": 2}) == "2 cores of X"


def test_figures_have_means_and_each_seed():
    frame = to_frame(two_seeds())
    figure = training_curves(frame)
    assert figure.axes[1].lines[2].get_ydata().tolist() == pytest.approx([35, 45])
    of_last = estimate_fraction([0.5, 0.4]).interval
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    at_last = band[band[:, 0] == 2, 1]
    assert (at_last.min(), at_last.max()) == pytest.approx((100 * of_last.low, 100 * of_last.high))
    bars = complete_comparison(frame).axes[1]
    assert [bar.get_height() for bar in bars.patches] == pytest.approx([45, 45])
    (low, high), *_ = (line[:, 1] for bar in bars.collections for line in bar.get_segments())
    assert (low, high) == pytest.approx((100 * of_last.low, 100 * of_last.high))
    check_comparable(per_run(frame))
    with pytest.raises(InputError, match="seeds are"):
        check_comparable(per_run(to_frame(two_seeds()[:3])))


def test_figures_are_drawn_of_runs_that_did_not_end():
    endless = History([2.0, math.inf], [0.3] * 2, [0.4, 0.1], [2.0] * 2, [0.1] * 2, [0.0] * 2, [0.0] * 2)
    for history, count in ((History(), 0), (endless, 1)):
        lost = [dataclasses.replace(r, status="diverged", history=history) for r in two_seeds()[2:]]
        frame = to_frame([*two_seeds()[:2], *lost])
        assert len(training_curves(frame).axes[0].lines[-1].get_ydata()) == count
        assert len(complete_comparison(frame).axes[1].patches) == 1 + count
        # Of a model with complete runs, these.
        figure = complete_comparison(to_frame([*two_seeds()[:3], lost[1]]))
        assert [bar.get_height() for bar in figure.axes[1].patches] == pytest.approx([45, 50])


def test_times_say_which_runs_they_are_of():
    runs = two_seeds()
    pooled = [r if i % 2 else dataclasses.replace(r, execution={"seeds": 1}) for i, r in enumerate(runs)]
    away = [r if i % 2 else synthetic.on_another(r) for i, r in enumerate(runs)]
    shared = [dataclasses.replace(r, execution={"seeds": 2}) for r in runs]
    for records, expected in (
        (pooled, "training only. ³"),
        (away, "training only, of seed 42 on 2 cores of another. ³"),
        (shared, "training only, per seed (2 in one program). ³"),
    ):
        assert expected in comparison_table(per_run(to_frame(records))).notes[1]


def test_times_of_runs_executed_differently_are_not_shown():
    runs = [RECORDS[0], with_config(RECORDS[1], input="host")]
    assert comparison(runs)["CNN"]["Seconds per epoch²"] == "3.0"
    for other in (
        dataclasses.replace(runs[1], execution={"seeds": 2}),
        dataclasses.replace(runs[1], environment=runs[1].environment | {"cpu": "another"}),
    ):
        rows = comparison([runs[0], other])
        assert {row["Seconds per epoch²"] for row in rows.values()} == {"-"}
        assert not complete_comparison(to_frame([runs[0], other])).axes[2].patches


def test_times_to_accuracy_stand_beside_each_other():
    """Of the CNN's epochs of 2 and 4 s, and the ViT's one of 2 s."""
    table = accuracy_time_table(to_frame(RECORDS))
    assert table.header == ("Test accuracy", "CNN, epochs", "CNN, s", "ViT, epochs", "ViT, s")
    assert table.rows == [
        ("30 %", "1", "3.0", "1", "2.0"),
        ("40 %", "1", "3.0", "1", "2.0"),
        ("50 %", "2", "6.0", "not reached", "not reached"),
    ]
    assert accuracy_time_table(to_frame(two_seeds()[:2])).rows[-1][1] == "2 (1 of 2 seeds)"
    away = accuracy_time_table(to_frame([RECORDS[0], synthetic.on_another(RECORDS[1])]))
    assert away.header == ("Test accuracy", "CNN, epochs", "ViT, epochs")


def test_an_agreement_is_a_row_a_model():
    table = agreement_table(per_run(to_frame(agreeing())))
    assert table.rows[0][4:] == ("61.00", "59.50", "+1.50", "-1.657 to +4.657", "not shown", "2", "2", "3")
    one = agreement_table(per_run(to_frame([r for r in agreeing() if r.config.training.seed == 0])))
    assert {row[-4:-2] for row in one.rows} == {("one seed, no interval", "not tested")}
    assert [row[-2:] for row in one.rows] == [(margin, "1") for margin in ("2", "2", "1.5", "1.5")]


def test_a_table_is_its_columns_and_a_dash_for_what_is_missing():
    rows = pd.DataFrame(
        {"a": [Estimate(0.5, Interval(0.25, 1.5, "")), None], "b": [Spread(1, 1, math.inf), Spread(2, 2, 2)]}
    )
    columns = {"A": ("a", number(".2f")), "B": ("b", number(".0f", 10))}
    table = make_table("T", rows, columns, "", "a note")
    assert table.header == ("A", "B")
    assert table.rows == [("0.50 (0.25 to 1.50)", "10 (10 to never)"), ("-", "20")]
    assert table.notes == ["a note"]
    assert table.markdown().startswith("T:\n\n| A | B |\n| --- | --- |\n| 0.50 (0.25 to 1.50) | 10 (10 to never) |\n")
    assert make_table("T", [], columns).rows == []


def test_blocks_are_replaced_and_nothing_else(tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\nafter\n")
    assert replace_blocks(document, {"a": r"new \1", "b": "two\nlines"}) == (
        "before\n<!-- a -->\nnew \\1\n<!-- /a -->\nbetween\n<!-- b -->\ntwo\nlines\n<!-- /b -->\nafter\n"
    )
    document.write_text("<!-- a -->\n<!-- /a -->\n")
    assert replace_blocks(document, {"a": "new", "b": "not here"}) == "<!-- a -->\nnew\n<!-- /a -->\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", "has no block"),
        ("<!-- a -->\nold\n", "<!-- a --> and <!-- /a --> do not enclose"),
        ("<!-- /a -->\n<!-- a -->\n", "<!-- a --> and <!-- /a --> do not enclose"),
        ("<!-- a -->\n<!-- b -->\n<!-- /a -->\n<!-- /b -->\n", "<!-- a --> and <!-- /a --> do not enclose"),
        ("<!-- a -->\n<!-- /a -->\n<!-- c -->\n<!-- /c -->\n", "nothing fills <!-- c -->"),
    ],
)
def test_a_file_without_whole_and_known_blocks_is_refused(text, message, tmp_path):
    document = tmp_path / "README.md"
    document.write_text(text)
    with pytest.raises(InputError, match=message):
        replace_blocks(document, {"a": "", "b": ""})


@pytest.mark.parametrize("draw", [training_curves, complete_comparison])
def test_figures_are_drawn_the_same_each_time(tmp_path, draw):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        save_figure(draw(to_frame(RECORDS)), folder, "figure")
        assert (folder / "figure.png").stat().st_size > 10_000
        contents.append((folder / "figure.svg").read_text())
    assert contents[0] == contents[1]


def test_curves_hold_the_records_values():
    figure = training_curves(to_frame(RECORDS))
    loss, accuracy, seconds = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [2.0, 1.5]
    assert accuracy.lines[1].get_ydata().tolist() == [40.0]
    assert [bar.get_height() for bar in seconds.patches] == [3.0, 2.0]
    assert all(axes.get_ylabel() and axes.get_title() for axes in figure.axes)


def test_costs_follow_from_the_models_own_kernels():
    """Every kernel is applied once per output position: 2 FLOP a weight and position."""
    images = np.zeros((1, 32, 32, 3), np.float32)
    for name, positions, total in (
        ("cnn", {"conv_0": 1024, "conv_1": 256, "conv_2": 64, "hidden": 1, "head": 1}, 21.7e6),
        ("vit", {"patch_embed": 64, "in_proj": 65, "out_proj": 65, "linear1": 65, "linear2": 65, "head": 1}, 112e6),
    ):
        model = build_model(name)
        params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)["params"]
        leaves = [
            (path[-2].key, leaf.size)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if path[-1].key == "kernel"
        ]
        expected = sum(2 * size * positions[layer] for layer, size in leaves)
        if name == "vit":
            expected += 4 * 2 * 2 * 65 * 65 * 128  # scores and mixing have no weights
        flops = sum(cost.flops_per_image for cost in layer_costs(name))
        assert flops == expected
        assert flops == pytest.approx(total, rel=0.01)
    assert [cost.positions for cost in layer_costs("cnn")] == [9, 9, 9, 16, 1]
    assert max(cost.positions for cost in layer_costs("vit")) == 65


def test_runs_that_are_no_comparison_are_refused():
    other = record("vit")
    for change, message in (
        ({"data_fingerprint": "other"}, "images is"),
        ({"config": dataclasses.replace(other.config, training=TrainingConfig(epochs=5))}, "epochs is 20 in one, 5"),
        ({"config": RECORDS[0].config}, "several runs of cnn from one seed"),
    ):
        with pytest.raises(InputError, match=message):
            check_comparable(per_run(to_frame([RECORDS[0], dataclasses.replace(other, **change)])))
    check_comparable(per_run(to_frame(RECORDS)))


RESULTS = Path(__file__).parents[1] / "results"


def test_the_documents_the_summary_and_the_page_are_the_committed_records():
    folders = [path.parent for name in RECORD_FILES for path in sorted(RESULTS.glob(f"*/{name}"))]
    assert len(folders) == 9
    results = gather(folders)
    blocks = {name: block for name, block in results.blocks().items() if name not in PAGE_ONLY}
    filled: list[str] = []
    for document in (RESULTS.parent / "README.md", *(RESULTS.parent / "docs").glob("*.md")):
        text = document.read_text()
        names = re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE)
        if names and names != ["coverage"]:  # which is interval_coverage.py's
            assert replace_blocks(document, blocks) == text, document.name
            filled += names
    assert sorted(filled) == sorted(blocks)
    assert all(
        len(note.split()) <= 60 for tables in results.tables.values() for table in tables for note in table.notes
    )
    assert len(results.verdict) <= 5
    assert all(len(line.split()) <= 25 for line in results.verdict)
    assert (RESULTS / "report" / "summary.json").read_text() == summary_json(results.summary)
    page = (RESULTS / "report" / "report.html").read_text()
    assert summary_json(results.summary) in html.unescape(page)
