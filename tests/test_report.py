"""Tables and figures say what the records say, and nothing else."""

import dataclasses
import html
import json
import math
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from test_records import record

from jaxcompare.analysis.comparison import check_comparable, summarise, time_to_accuracy
from jaxcompare.analysis.speed import break_even_steps
from jaxcompare.cells import Cell, CellRecord, load_cells, save_cells
from jaxcompare.config import ExecutionConfig, InputError, TrainingConfig
from jaxcompare.measure.cost import layer_costs
from jaxcompare.models import build_model
from jaxcompare.records import History, TruncatedLine
from jaxcompare.report.figures import break_even_curves, complete_comparison, save_figure, training_curves
from jaxcompare.report.results import gather
from jaxcompare.report.speed import break_even_table, input_table, phases_table, speed_table
from jaxcompare.report.tables import accuracy_time_table, agreement_table, comparison_table, replace_blocks

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
    assert f"{between} -4.85 to +7.85 | yes (2) | 2 |" in table
    assert (
        "| ViT | JAX, device input / JAX, host input | 61.00 (61.00, 61.00) | 61.00 (60.00, 62.00) | +0.00 |" in table
    )
    low = History([1.0], [0.5], [0.4], [1.0], [1.0], [0.0])
    apart = [r if r.config.framework == "jax" else dataclasses.replace(r, history=low) for r in runs]
    row = "| 61.00 (60.00, 62.00) | 40.00 (40.00, 40.00) | +21.00 | +8.29 to +33.71 | no (2) | 2 |"
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


def cell_records():
    shared = {
        "warm_up_time_s": [9.0],
        "train_images": 1000,
        "image_size": 32,
        "num_classes": 10,
        "batch_size": 128,
        "seed": 42,
        "dataset_title": "some images",
        "data_fingerprint": "abc",
        "execution": {"peak_bytes": {"device": None, "process": 10**9}},
        "environment": RECORDS[0].environment,
        "git_commit": None,
        "parity": {"logits": 1e-6, "gradients": 1e-5, "losses": 1e-5},
        "manifest": {"tf32": False, "bfloat16": False, "threads": 2},
    }
    ways = {
        Cell("torch", "cnn", "eager", "memory"): (2.0, 4.0, 5.0),
        Cell("torch", "cnn", "eager", "recipe"): (20.0, 30.0, 20.0),
        Cell("jax", "cnn", "step", "host"): (3.0, 3.0, 3.0),
        Cell("jax", "cnn", "epoch", "device"): (1.0, 3.0, 2.0),
        Cell("jax", "cnn", "epoch", "device", seeds=4): (4.0, 12.0, 10.0),
    }
    return [
        CellRecord(
            cell,
            repeat,
            [seconds, seconds, 99.0],
            compile_time_s=5.0 if cell.framework == "jax" else None,
            ceiling_flops_per_s=2e11,
            **shared,
        )
        for cell, times in ways.items()
        for repeat, seconds in enumerate(times)
    ]


def test_speed_table_takes_medians_and_paired_ratios(tmp_path):
    records = cell_records()
    save_cells(tmp_path / "cells.jsonl", records)
    assert load_cells(tmp_path / "cells.jsonl") == records
    table = speed_table(records).markdown()
    # 3 x 21.7 MFLOP in 2 ms is a sixth of 200 GFLOP/s.
    row = "| CNN | JAX epoch, device input | 2,000 (1,000 to 3,000) | 0.50 (0.40 to 0.75) | 16 (11 to 33) |"
    assert f"{row} 5.0 (5.0 to 5.0) | 1,000 (1,000 to 1,000) |" in table
    assert "| CNN | PyTorch eager, memory input | 4,000 (2,000 to 5,000) | 1.00 (1.00 to 1.00) |" in table
    assert (
        "the best JAX engine (JAX epoch, device input) takes 0.50 (0.40 to 0.75) of the time of PyTorch eager" in table
    )
    assert "The recipe's own loop takes 10.0 (10.0 to 20.0) times as long" in table
    assert "4 seeds in one program take 1.00 (1.00 to 1.25) of the time of 4 single runs" in table


def test_a_cell_without_a_time_is_a_row_that_says_why():
    records = cell_records()
    lost = Cell("torch", "cnn", "compile", "memory")
    records += [
        dataclasses.replace(records[0], cell=lost, repeat=i, epoch_time_s=[], warm_up_time_s=[], message="no compiler")
        for i in range(3)
    ]
    table = speed_table(records).markdown()
    assert "| CNN | PyTorch compile, memory input | - | - | - | - | - |" in table
    assert "CNN, PyTorch compile, memory input: not measured (no compiler)." in table
    assert "PyTorch compile" not in break_even_table(records).markdown()


def test_without_pytorch_eager_there_are_times_and_no_ratios():
    records = [
        dataclasses.replace(r, epoch_time_s=[], warm_up_time_s=[], message="killed") if r.cell.engine == "eager" else r
        for r in cell_records()
    ]
    table = speed_table(records).markdown()
    assert "| CNN | JAX epoch, device input | 2,000 (1,000 to 3,000) | - |" in table
    assert "the best JAX engine" not in table
    assert break_even_table(records).rows == []
    assert phases_table([]).rows == ()


def test_the_note_says_how_near_the_sides_were_or_that_there_was_no_gate():
    records = cell_records()
    assert (
        "came within logits 1e-06, gradients 1e-05, losses 1e-05 of PyTorch in float64"
        in speed_table(records).markdown()
    )
    before = [dataclasses.replace(r, parity={}) for r in records]
    assert "measured before there was one" in speed_table(before).markdown()


def test_break_even_is_where_the_cumulative_times_meet():
    second = {
        r.cell.engine: r for r in cell_records() if r.repeat == 1 and r.cell.seeds == 1 and r.cell.input != "recipe"
    }
    eager, compiled = second["eager"], second["epoch"]
    # An epoch of 8 steps: 4 s and 3 s; paid once: 5 s in its first epoch; 5 s of compilation and 6 s in its first.
    assert (eager.one_time_s, eager.step_time_s) == (5.0, 0.5)
    assert (compiled.one_time_s, compiled.step_time_s) == (11.0, 0.375)
    n = break_even_steps(compiled, eager)
    assert n == pytest.approx(6 / 0.125)
    assert compiled.one_time_s + n * compiled.step_time_s == pytest.approx(eager.one_time_s + n * eager.step_time_s)
    assert break_even_steps(eager, eager) == 0.0
    slower = dataclasses.replace(compiled, epoch_time_s=[4.5])
    assert break_even_steps(slower, eager) == math.inf
    table = break_even_table(cell_records()).markdown()
    step = "| CNN | JAX step, host input | 11.0 (11.0 to 11.0) | 375.0 (375.0 to 375.0) | never in 1 of 3 repeats |"
    assert step in table


def test_what_is_not_compiled_has_no_break_even():
    records = cell_records()
    step = Cell("jax", "cnn", "step", "host")
    op = [dataclasses.replace(r, cell=dataclasses.replace(step, engine="op")) for r in records if r.cell == step]
    table = break_even_table([*records, *op])
    assert op
    assert table == break_even_table(records)


def test_interaction_is_a_ratio_of_speed_ups():
    records = cell_records()
    others = [
        dataclasses.replace(
            r,
            cell=dataclasses.replace(r.cell, model="vit"),
            epoch_time_s=[s * (3 if r.cell.framework == "torch" else 1.5) for s in r.epoch_time_s],
        )
        for r in records
    ]
    text = break_even_table([*records, *others]).markdown()
    assert (
        "Over PyTorch eager, JAX step, host input speeds up the ViT 2.00 times as much as the CNN (95 % interval 2.00 "
        "to 2.00: more)" in text
    )
    assert "undecided" not in text


def test_break_even_curves_start_at_what_is_paid_once():
    (axes,) = break_even_curves(cell_records()).axes
    labels = [line.get_label() for line in axes.lines]
    assert labels[0] == "PyTorch eager, memory input"
    assert axes.lines[0].get_ydata()[0] == 5.0
    assert axes.get_xlabel() == "optimiser steps"


def test_cells_that_are_no_one_measurement_are_refused(tmp_path):
    records = cell_records()
    for change, message in (
        ({"batch_size": 64}, "batch size is 128 in one, 64 in another"),
        ({"environment": RECORDS[0].environment | {"cpu": "another"}}, "cpu is"),
        ({"git_commit": "abc"}, "commit is"),
        ({"manifest": {"tf32": True, "bfloat16": False, "threads": 2}}, "tf32 is False in one, True in another"),
        ({"manifest": {"tf32": False, "bfloat16": False, "threads": 1}}, "threads is 2 in one, 1 in another"),
        ({"data_fingerprint": "other"}, "data is"),
    ):
        with pytest.raises(InputError, match=message):
            speed_table([*records[:-1], dataclasses.replace(records[-1], **change)]).markdown()
    with pytest.raises(InputError, match=r"4 seeds: repeats \[0, 1\] only"):
        speed_table(records[:-1]).markdown()
    with pytest.raises(InputError, match="holds no measurement"):
        speed_table([]).markdown()
    path = tmp_path / "cells.jsonl"
    save_cells(path, records)
    path.write_text(path.read_text()[:-30])
    with pytest.warns(TruncatedLine, match="line 15: cut off"):
        assert load_cells(path) == records[:-1]


def test_phases_table_takes_medians():
    cell = {"framework": "jax", "model": "cnn", "engine": "step", "input": "host", "precision": "float32", "seeds": 1}
    numbers = ("input_ms", "copy_ms", "forward_ms", "backward_ms", "update_ms", "step_ms", "dispatch_ms")
    records = [
        {"repeat": i, "cell": cell, "batch_size": 128} | {name: float(i + j) for j, name in enumerate(numbers)}
        for i in range(3)
    ]
    row = "| CNN | JAX step | 1.00 (0.00 to 2.00) | 2.00 (1.00 to 3.00) | 3.00 (2.00 to 4.00) |"
    assert row in phases_table(records).markdown()


def test_input_table_takes_medians_and_paired_ratios():
    cells = [
        {"repeat": repeat, "workers": workers, "pipeline": pipeline, "images_per_s": speed * (1 + repeat), "images": 9}
        for repeat in range(3)
        for workers in (0, 2)
        for pipeline, speed in (("jaxcompare", 4000.0), ("recipe", 1000.0))
    ]
    assert (
        "| 2 | 8,000 (4,000 to 12,000) | 2,000 (1,000 to 3,000) | 4.0 (4.0 to 4.0) |" in input_table(cells).markdown()
    )
    with pytest.raises(InputError, match="a measurement is missing"):
        input_table(cells[:-1]).markdown()


def test_blocks_are_replaced_and_nothing_else(tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\nafter\n")
    assert replace_blocks(document, {"a": r"new \1", "b": "two\nlines"}) == (
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
        ({"config": RECORDS[0].config}, "several runs of cnn from one seed"),
    ):
        with pytest.raises(InputError, match=message):
            check_comparable([RECORDS[0], dataclasses.replace(other, **change)])
    check_comparable(RECORDS)


RESULTS = Path(__file__).parents[1] / "results"


def test_the_readme_the_summary_and_the_page_are_the_committed_records():
    readme = (RESULTS.parent / "README.md").read_text()
    folders = [path.parent for path in sorted(RESULTS.glob("*/*s.jsonl")) if path.name != "inputs.jsonl"]
    assert len(folders) == 4
    results = gather(folders)
    for name, tables in results.tables().items():
        text = "\n\n".join(table.markdown() for table in tables)
        assert f"<!-- {name} -->\n{text}\n<!-- /{name} -->" in readme, name
    for sentence in results.verdict:
        assert f"- {sentence}\n" in readme
    assert json.loads((RESULTS / "report" / "summary.json").read_text()) == results.summary()
    page = (RESULTS / "report" / "report.html").read_text()
    assert json.dumps(results.summary(), indent=1, ensure_ascii=False) in html.unescape(page)
