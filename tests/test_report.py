"""Tables and figures say what the records say, and nothing else."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from test_records import record

from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.measure.cost import layer_costs
from jaxcompare.models import build_model
from jaxcompare.records import History, load_records
from jaxcompare.report.figures import complete_comparison, save_figure, training_curves
from jaxcompare.report.tables import (
    agreement_table,
    check_comparable,
    comparison_table,
    replace_blocks,
    speed_tables,
    summarise,
)

RECORDS = [record("cnn"), record("vit", params=809_354, losses=(2.2,))]


def test_summary_has_the_promised_keys():
    summary = summarise([*RECORDS[:1], record("vit", status="diverged", history=History())])
    assert summary["models"]["cnn"] == {
        "params": 620_362,
        "best_test_accuracy": 0.5,
        "final_test_accuracy": 0.5,
        "epoch_time_s": 3.0,
        "compile_time_s": 3.5,
        "epochs": 2,
        "status": "complete",
    }
    assert summary["models"]["vit"]["best_test_accuracy"] is None
    json.dumps(summary, allow_nan=False)


def test_comparison_table_says_what_the_records_say():
    table = comparison_table(RECORDS)
    assert "| CNN | 620,362 | 2 of 20 | 50.00 % | 50.00 % | 3.0 | 3.5 |" in table
    assert "| ViT | 809,354 | 1 of 20 | 40.00 % | 40.00 % | 2.0 | 3.5 |" in table
    assert "one run a model, so no interval" in table


def test_agreement_table_takes_the_difference_of_means():
    runs = []
    for framework, accuracies in (("jax", (0.60, 0.62)), ("torch", (0.59, 0.60))):
        for model in ("cnn", "vit"):
            for seed, accuracy in enumerate(accuracies):
                base = record(model, history=History([1.0], [0.5], [accuracy], [1.0], [1.0]))
                config = dataclasses.replace(base.config, framework=framework, training=TrainingConfig(seed=seed))
                runs.append(dataclasses.replace(base, config=config))
    table = agreement_table(runs)
    assert "| CNN | 61.00 (60.00, 62.00) | 59.50 (59.00, 60.00) | +1.50 | -4.85 to +7.85 | yes |" in table
    low = History([1.0], [0.5], [0.4], [1.0], [1.0])
    apart = [r if r.config.framework == "jax" else dataclasses.replace(r, history=low) for r in runs]
    row = "| ViT | 61.00 (60.00, 62.00) | 40.00 (40.00, 40.00) | +21.00 | +8.29 to +33.71 | no |"
    assert row in agreement_table(apart)
    short = dataclasses.replace(runs[0].config, training=TrainingConfig(epochs=5))
    with pytest.raises(InputError, match="epochs is 20 in one, 5 in another"):
        agreement_table([*runs, dataclasses.replace(runs[0], config=short)])
    with pytest.raises(InputError, match=r"jax cnn: complete runs of seeds \[1\], others have \[0, 1\]"):
        agreement_table([dataclasses.replace(runs[0], status="diverged"), *runs[1:]])


def test_speed_tables_take_medians_and_paired_ratios():
    environment = RECORDS[0].environment
    cells = []
    for repeat, (ours, theirs) in enumerate(((1.0, 2.0), (3.0, 4.0), (2.0, 5.0))):
        for model in ("cnn", "vit"):
            for framework, seconds in (("jax", ours), ("torch", theirs)):
                cells.append(
                    {
                        "cell": "epoch",
                        "repeat": repeat,
                        "framework": framework,
                        "model": model,
                        "epoch_time_s": [seconds, seconds, 99.0],
                        "compile_time_s": 5.0,
                        "train_images": 5000,
                        "batch_size": 128,
                        "dataset": "some images",
                        "environment": environment,
                    }
                )
        for workers in (0, 2):
            for pipeline, speed in (("jaxcompare", 4000.0), ("recipe", 1000.0)):
                cell = {"cell": "input", "repeat": repeat, "pipeline": pipeline, "workers": workers}
                cells.append(cell | {"images_per_s": speed, "environment": environment})
    tables = speed_tables(cells)
    assert "| CNN | 2.00 (1.00 to 3.00) | 4.00 (2.00 to 5.00) | 0.50 (0.40 to 0.75) | 5.0 (5.0 to 5.0) |" in tables
    assert "| 2 | 4,000 (4,000 to 4,000) | 1,000 (1,000 to 1,000) | 4.0 (4.0 to 4.0) |" in tables


def test_blocks_are_replaced_and_nothing_else(tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\nafter\n")
    replace_blocks(document, {"a": r"new \1", "b": "two\nlines"})
    assert document.read_text() == (
        "before\n<!-- a -->\nnew \\1\n<!-- /a -->\nbetween\n<!-- b -->\ntwo\nlines\n<!-- /b -->\nafter\n"
    )
    with pytest.raises(InputError, match="no block between <!-- c -->"):
        replace_blocks(document, {"c": ""})


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
        ({"config": RECORDS[0].config}, "several runs of one model"),
    ):
        with pytest.raises(InputError, match=message):
            check_comparable([RECORDS[0], dataclasses.replace(other, **change)])
    check_comparable(RECORDS)


RESULTS = Path(__file__).parents[1] / "results"


def test_the_readmes_tables_and_the_summary_are_the_committed_records():
    readme = (RESULTS.parent / "README.md").read_text()
    comparison = load_records(RESULTS / "full_comparison" / "runs.jsonl")
    cells = (RESULTS / "training_speed" / "cells.jsonl").read_text().splitlines()
    for name, table in (
        ("full_comparison", comparison_table(comparison)),
        ("framework_agreement", agreement_table(load_records(RESULTS / "framework_agreement" / "runs.jsonl"))),
        ("training_speed", speed_tables([json.loads(cell) for cell in cells])),
    ):
        assert f"<!-- {name} -->\n{table}\n<!-- /{name} -->" in readme, name
    assert json.loads((RESULTS / "full_comparison" / "summary.json").read_text()) == summarise(comparison)
