"""Tables and figures say what the records say, and nothing else."""

import dataclasses
import html
import json
import math
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic
from test_records import record

from jaxcompare.analysis.comparison import check_comparable, summarise, time_to_accuracy
from jaxcompare.analysis.data_efficiency import build_sweep
from jaxcompare.config import ExecutionConfig, InputError, TrainingConfig
from jaxcompare.measure.cost import layer_costs
from jaxcompare.models import build_model
from jaxcompare.records import History, summary_json
from jaxcompare.report.agreement import agreement_table
from jaxcompare.report.figures import complete_comparison, save_figure, training_curves
from jaxcompare.report.results import PAGE_ONLY, gather
from jaxcompare.report.tables import (
    accuracy_time_table,
    chance_note,
    comparison_table,
    efficiency_tables,
    replace_blocks,
)

RECORDS = [record("cnn"), record("vit", params=809_354, losses=(2.2,))]


def with_config(base, framework="jax", seed=42, **execution):
    config = dataclasses.replace(base.config, framework=framework, execution=ExecutionConfig("step", **execution))
    return dataclasses.replace(base, config=config.with_seed(seed))


def test_summary_has_the_promised_keys():
    summary = summarise([*RECORDS[:1], record("vit", status="diverged", history=History())])
    assert summary["models"]["cnn"] == {
        "params": 620_362,
        "best_test_accuracy": 0.5,
        "final_test_accuracy": 0.5,
        "epoch_time_s": 3.0,
        "compile_time_s": 3.5,
        "compiled": "cold",
        "epochs": 2,
        "status": "complete",
        "seeds": {"42": 0.5},
    }
    assert summary["models"]["vit"]["best_test_accuracy"] is None
    json.dumps(summary, allow_nan=False)


def two_seeds():
    low = History([2.0, 1.5], [0.3] * 2, [0.3, 0.4], [2.0, 4.0], [0.1] * 2, [0.0] * 2)
    return [
        with_config(dataclasses.replace(record(model), history=history), seed=seed, input="device")
        for model in ("cnn", "vit")
        for seed, history in ((42, RECORDS[0].history), (43, low))
    ]


def test_several_seeds_are_their_mean_with_the_range_beside_it():
    summary = summarise(two_seeds())["models"]["cnn"]
    assert summary["best_test_accuracy"] == pytest.approx(0.45)
    assert summary["seeds"] == {"42": 0.5, "43": 0.4}
    table = comparison_table(two_seeds()).markdown()
    assert "| CNN | 620,362 | 2 of 20 | 45.00 (40.00 to 50.00) % |" in table
    assert "mean (and range) of seeds 42, 43" in table
    figure = training_curves(two_seeds())
    assert figure.axes[1].lines[2].get_ydata().tolist() == pytest.approx([35, 45])
    assert [bar.get_height() for bar in complete_comparison(two_seeds()).axes[1].patches] == pytest.approx([45, 45])
    check_comparable(two_seeds())
    with pytest.raises(InputError, match="seeds are"):
        check_comparable(two_seeds()[:3])


def test_times_of_runs_executed_differently_are_not_shown():
    runs = [RECORDS[0], with_config(RECORDS[1], input="host")]
    assert "| 3.0 |" in comparison_table(runs).markdown()
    for other in (
        dataclasses.replace(runs[1], execution={"seeds": 2}),
        dataclasses.replace(runs[1], environment=runs[1].environment | {"cpu": "another"}),
    ):
        assert comparison_table([runs[0], other]).markdown().count("| executed differently |") == 2
        assert not complete_comparison([runs[0], other]).axes[2].patches


def test_comparison_table_says_what_the_records_say():
    table = comparison_table(RECORDS).markdown()
    assert "| CNN | 620,362 | 2 of 20 | 50.00 % | 50.00 % | 3.0 | 3.5 (cold) |" in table
    assert "| ViT | 809,354 | 1 of 20 | 40.00 % | 40.00 % | 2.0 | 3.5 (cold) |" in table
    assert "one run a model, so no interval" in table
    assert "step engine, host input, float32" in table


def test_time_to_accuracy_is_that_of_the_first_epoch_that_reaches_it():
    # Epochs of 2 and 4 s, to 40 and 50 %; compilation 3.5 s. The ViT's one epoch of 2 s reaches 40 %.
    assert time_to_accuracy(RECORDS[0], 0.4) == 2.0
    assert time_to_accuracy(RECORDS[0], 0.41) == 6.0
    assert time_to_accuracy(RECORDS[0], 0.51) == math.inf
    table = accuracy_time_table(RECORDS).markdown()
    assert "| 40 % | 2.0 (5.5) | 2.0 (5.5) |" in table
    assert "| 50 % | 6.0 (9.5) | not reached |" in table
    assert "| 60 %" not in table
    assert "| 50 % | 6.0 (9.5), 1 of 2 seeds |" in accuracy_time_table(two_seeds()[:2]).markdown()
    elsewhere = dataclasses.replace(RECORDS[1], environment=RECORDS[1].environment | {"cpu": "another"})
    assert accuracy_time_table([RECORDS[0], elsewhere]).rows == []


def agreeing():
    runs = []
    for framework, place, accuracies in (
        ("jax", "host", (0.60, 0.62)),
        ("torch", "host", (0.59, 0.60)),
        ("jax", "device", (0.61, 0.61)),
    ):
        for model in ("cnn", "vit"):
            for seed, accuracy in enumerate(accuracies):
                base = record(model, history=History([1.0], [0.5], [accuracy], [1.0], [1.0], [0.0]))
                runs.append(with_config(base, framework, seed, input=place))
    return runs


def test_agreement_table_takes_the_difference_of_means():
    runs = agreeing()
    table = agreement_table(runs).markdown()
    between = "| CNN | JAX, host input / PyTorch eager | 61.00 (60.00, 62.00) | 59.50 (59.00, 60.00) | +1.50 |"
    assert f"{between} -1.657 to +4.657 | not shown (2) | 2 (3) |" in table
    assert "4 intervals of 90 %: on average 0.4 of them miss by chance." in table
    assert "origin" not in table
    assert (
        "| ViT | JAX, device input / JAX, host input | 61.00 (61.00, 61.00) | 61.00 (60.00, 62.00) | +0.00 |" in table
    )
    low = History([1.0], [0.5], [0.4], [1.0], [1.0], [0.0])
    apart = [r if r.config.framework == "jax" else dataclasses.replace(r, history=low) for r in runs]
    row = "| 61.00 (60.00, 62.00) | 40.00 (40.00, 40.00) | +21.00 | +14.686 to +27.314 | excluded (2) | 2 |"
    assert row in agreement_table(apart).markdown()
    short = dataclasses.replace(runs[0].config, training=TrainingConfig(epochs=5))
    with pytest.raises(InputError, match="epochs is 20 in one, 5 in another"):
        agreement_table([*runs, dataclasses.replace(runs[0], config=short)]).markdown()
    unfinished = [dataclasses.replace(runs[0], status="diverged"), *runs[1:]]
    with pytest.raises(
        InputError, match=r"CNN: complete seeds are \[1\] of JAX, host input, \[0, 1\] of PyTorch eager"
    ):
        agreement_table(unfinished).markdown()
    with pytest.raises(InputError, match="CNN: several runs of JAX, host input from one seed"):
        agreement_table([*runs, runs[0]]).markdown()


def test_an_agreement_of_one_seed_is_not_shown():
    rows = agreement_table([r for r in agreeing() if r.config.training.seed == 0]).rows
    assert [row[-3:] for row in rows] == [("one seed, no interval", f"not shown ({m})", "1") for m in (2, 2, 1.5, 1.5)]


def test_an_agreement_is_shown_by_its_interval_and_not_by_its_mean():
    runs = agreeing()
    close = [
        with_config(
            dataclasses.replace(r, history=runs[0].history),
            r.config.framework,
            r.config.training.seed,
            input=r.config.execution.input,
        )
        for r in runs
    ]
    assert {row[-2] for row in agreement_table(close).rows} == {"shown (2)", "shown (1.5)"}
    scattered = [
        r if r.config.framework == "torch" or r.config.training.seed else with_accuracy(r, 0.55) for r in close
    ]
    row = agreement_table(scattered).rows[0]
    assert row[4] == "-2.50"
    assert row[-2] == "not shown (2)"


def with_accuracy(base, accuracy):
    return dataclasses.replace(base, history=History([1.0], [0.5], [accuracy], [1.0], [1.0], [0.0]))


def test_an_agreement_of_several_origins_says_what_differs():
    runs = agreeing()
    versions = runs[0].environment["versions"] | {"torch": "1.0"}
    other = dataclasses.replace(
        runs[0], git_commit="abcdef0123", environment=runs[0].environment | {"versions": versions}
    )
    (note,) = [note for note in agreement_table([other, *runs[1:]]).notes if "origin" in note]
    assert "commits" in note
    assert "abcdef0," in note or "abcdef0;" in note
    assert "torch 1.0, " in note or ", 1.0" in note
    assert "jax " not in note
    assert "processors" not in note


def test_a_table_says_how_many_of_its_intervals_miss_by_chance():
    assert chance_note(0) == ""
    for intervals, level, expected in ((12, 0.95, (12, 95, 0.6)), (4, 0.9, (4, 90, 0.4)), (240, 0.95, (240, 95, 12))):
        assert tuple(map(float, re.findall(r"[\d.]*\d", chance_note(intervals, level)))) == expected
    sizes = {1000: 0.5, 10_000: 0.6, 100_000: 0.7}
    tables = efficiency_tables(build_sweep(synthetic.sweep(sizes, dict.fromkeys(sizes, 0.4))))
    assert [chance_note(count) in table.notes for table, count in zip(tables, (9, 9, 2), strict=True)] == [True] * 3
    one = efficiency_tables(build_sweep(synthetic.sweep(sizes, sizes, seeds=1)))
    assert not [note for table in one for note in table.notes if "by chance" in note]


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
        save_figure(draw(RECORDS), folder, "figure")
        assert (folder / "figure.png").stat().st_size > 10_000
        contents.append((folder / "figure.svg").read_text())
    assert contents[0] == contents[1]


def test_curves_hold_the_records_values():
    figure = training_curves(RECORDS)
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
            check_comparable([RECORDS[0], dataclasses.replace(other, **change)])
    check_comparable(RECORDS)


RESULTS = Path(__file__).parents[1] / "results"


def test_the_documents_the_summary_and_the_page_are_the_committed_records():
    folders = [path.parent for path in sorted(RESULTS.glob("*/*s.jsonl")) if path.name in ("runs.jsonl", "cells.jsonl")]
    assert len(folders) == 6
    results = gather(folders)
    blocks = {name: block for name, block in results.blocks().items() if name not in PAGE_ONLY}
    filled: list[str] = []
    for document in (RESULTS.parent / "README.md", *(RESULTS.parent / "docs").glob("*.md")):
        text = document.read_text()
        if names := re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE):
            assert replace_blocks(document, blocks) == text, document.name
            filled += names
    assert sorted(filled) == sorted(blocks)
    assert (RESULTS / "report" / "summary.json").read_text() == summary_json(results.summary())
    page = (RESULTS / "report" / "report.html").read_text()
    assert summary_json(results.summary()) in html.unescape(page)
