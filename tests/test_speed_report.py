"""What the speed study says is what its records say: ratios, shares, break-even, tables, figures and sentences."""

import dataclasses
import itertools
import json
import math
import re
from html import unescape

import html5lib
import numpy as np
import pytest
import synthetic_speed as synthetic
from matplotlib.patches import Rectangle
from scipy.stats import ttest_ind
from synthetic_speed import (
    COMMAND,
    COMPILE,
    EAGER,
    EPOCH,
    JIT,
    MILLISECONDS,
    OP,
    RECIPE,
    STEP,
    TRACED,
    failed,
    study,
    sweep,
    timed,
)
from test_records import record as run_record

import report
from jaxcompare.analysis.attribution import attribution, attributions
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.repeated_study import change as change_between
from jaxcompare.analysis.repeated_study import repeat_ratios
from jaxcompare.analysis.roofline import common_roofs, intensity
from jaxcompare.analysis.speed import (
    Cost,
    baseline,
    best,
    break_even_steps,
    check_one_measurement,
    cold_compile_s,
    interaction,
    interactions,
    slow_first_steps,
    time_ratio,
)
from jaxcompare.analysis.speed_summary import summarise_speed
from jaxcompare.cells import Cell, load_cells, save_cells
from jaxcompare.config import InputError
from jaxcompare.records import History, TruncatedLine, save_lines
from jaxcompare.report.html import build_page, draw_pictures
from jaxcompare.report.results import PAGE_ONLY, Results, gather
from jaxcompare.report.speed import attribution_table, break_even_table, speed_table
from jaxcompare.report.speed_checks import allocator_sentence, allocator_table, repeated_table
from jaxcompare.report.speed_controls import control_table
from jaxcompare.report.speed_costs import cost_table, matrix_library_sentences, memory_table
from jaxcompare.report.speed_curves import batch_sweep, input_ladder, roofline
from jaxcompare.report.speed_details import (
    accuracy_table,
    batch_table,
    input_table,
    ladder_table,
    ledger_table,
    phases_table,
)
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, compile_ledger, speed_matrix
from jaxcompare.report.speed_pictures import DESIGNS, draw_speed_pictures
from jaxcompare.report.speed_sentences import conclusions

LAST = Cell("cnn", "eager", control="channels-last")

WIDE = {STEP: (49.5, 50, 50.5), EPOCH: (60, 40, 20), COMPILE: (74, 75, 76)}

UNEVEN = {EAGER: (2.0, 4.0, 5.0), EPOCH: (1.0, 3.0, 2.0)}
"""Steps in ms by repeat: medians 4 and 2; ratios 0.5, 0.75, 0.4."""


def uneven():
    return [timed(cell, ms, repeat) for cell, times in UNEVEN.items() for repeat, ms in enumerate(times)]


def loaded(records, *drop, **changes):
    """Without some cells, and with others' steps in other milliseconds."""
    return [r for r in records if r.cell not in drop] if not changes else study(MILLISECONDS | changes)


# Ratios: paired by repeat, with intervals, of one measurement.


def test_ratios_are_of_medians_and_intervals_of_pairs():
    ratio = time_ratio(uneven(), EPOCH, EAGER)
    assert ratio.value == pytest.approx(2 / 4)
    # Student's t with 2 degrees of freedom, 4.303, of the pairs' logarithms.
    assert (ratio.interval.low, ratio.interval.high) == pytest.approx((0.241, 1.173), abs=0.001)
    assert ratio.interval.method == "Student's t, 3 repeats"
    assert ratio.direction == 0
    assert time_ratio(study(), STEP, EAGER).direction == -1
    alone = time_ratio(study(repeats=1), STEP, EAGER)
    assert (alone.value, alone.interval, alone.direction) == (pytest.approx(0.5), None, -1)


def test_the_baseline_is_eager_of_the_same_precision_and_batch_size():
    cells = [EAGER, dataclasses.replace(EAGER, batch_size=32), dataclasses.replace(EAGER, precision="bfloat16")]
    assert baseline(cells, Cell("cnn", "epoch", seeds=4)) == EAGER
    assert baseline(cells, dataclasses.replace(STEP, batch_size=32)) == cells[1]
    assert baseline(cells, dataclasses.replace(STEP, precision="bfloat16")) == cells[2]
    assert baseline(cells, dataclasses.replace(STEP, model="vit")) is None
    assert baseline([RECIPE], STEP) is None


def test_cells_that_are_no_one_measurement_are_refused_and_named(tmp_path):
    records = study()
    last = records[-1]
    for change, message in (
        ({"environment": last.environment | {"cpu": "another"}}, "cpu is"),
        ({"git_commit": "abc"}, "commit is"),
        ({"train_images": 64}, "data is"),
        ({"manifest": last.manifest | {"tf32": True}}, "tf32 is False in one, True in another, both float32"),
        ({"manifest": last.manifest | {"malloc": "MALLOC_ARENA_MAX=1"}}, "malloc is  in one, MALLOC_ARENA_MAX=1 in"),
        ({"manifest": last.manifest | {"threads": 1}}, "threads is 2 in one, 1 in another"),
        ({"data_fingerprint": "other"}, "data is"),
    ):
        with pytest.raises(InputError, match=message):
            speed_table([*records[:-1], dataclasses.replace(last, **change)])
    with pytest.raises(InputError, match=r"4 seeds: repeats \[0, 1\] only"):
        speed_table(records[:-1])
    with pytest.raises(InputError, match=r"4 seeds: a repeat is there twice, of \[0, 1, 2, 2\]"):
        speed_table([*records, last])
    shut = dataclasses.replace(last, parity={"logits": 0.5, "gradients": 0.0, "losses": 0.0})
    with pytest.raises(InputError, match=r"CNN JAX epoch, device input, 4 seeds: its gate is shut: logits off by 5"):
        speed_table([*records[:-1], shut])
    with pytest.raises(InputError, match="holds no measurement"):
        speed_table([])
    path = tmp_path / "cells.jsonl"
    save_cells(path, records)
    assert load_cells(path) == records
    for change, message in (
        ({"epoch_time_s": []}, "epoch_time_s is empty"),
        ({"epoch_time_s": [1.0, 0.0]}, "is not above 0"),
        ({"epoch_time_s": ["x"]}, "epoch_time_s"),
        ({"warm_up_time_s": [math.nan]}, "is not above 0"),
        ({"ceiling_flops_per_s": -1.0}, "is not above 0"),
        ({"manifest": {}}, "manifest lacks"),
        ({"environment": {}}, "environment lacks"),
        ({"parity": {}}, "parity lacks"),
        ({"manifest": last.manifest | {"tf32": True}}, "a cell in float32 whose manifest has tf32 otherwise"),
    ):
        line = json.dumps(dataclasses.asdict(dataclasses.replace(last, **change)))  # NaN is written as such
        (tmp_path / "bad.jsonl").write_text(line + "\n")
        with pytest.raises(InputError, match=f"line 1: not a cell record .*{message}"):
            load_cells(tmp_path / "bad.jsonl")
    path.write_text(path.read_text()[:-30])
    with pytest.warns(TruncatedLine, match="line 39: cut off"):
        assert load_cells(path) == records[:-1]


def test_precisions_and_batch_sizes_stand_side_by_side():
    bfloat16 = [dataclasses.replace(cell, precision="bfloat16") for cell in (EAGER, STEP)]
    sizes = [r for r in sweep() if r.cell.batch_size != 128]
    records = [*study(), *study(dict(zip(bfloat16, (60.0, 20.0), strict=True))), *sizes]
    check_one_measurement(records)
    table = speed_table(records).markdown()
    assert "| CNN | JAX step, device input, bfloat16 | 156 (153 to 159) | 0.33 (0.33 to 0.33) |" in table
    assert "batches of 512" not in table
    assert "float32, bfloat16, dropout on" in table


# The same grid twice.


def test_a_second_study_confirms_what_is_within_the_interval_or_close():
    first = [timed(cell, ms, i) for cell, of in {EAGER: (99, 100, 101), **WIDE}.items() for i, ms in enumerate(of)]
    again = study({EAGER: 100.0, STEP: 60.0, EPOCH: 30.0, COMPILE: 70.0, OP: 1.0})
    found = {(one.cell.engine, one.other.engine): one for one in repeat_ratios(first, again)}
    # Six pairs of four cells; a cell that one study lacks has none.
    assert len(found) == 6
    # 50 to 60 is more than 10 % apart, and outside an interval that is narrow.
    step, epoch, compiled = (found["eager", name] for name in ("step", "epoch", "compile"))
    assert (step.change, step.confirmed) == (pytest.approx(1.2), False)
    assert (epoch.change, epoch.confirmed, epoch.confirmed_backwards) == (pytest.approx(40 / 30), True, False)
    assert (compiled.change, compiled.confirmed, compiled.confirmed_backwards) == (pytest.approx(75 / 70), True, True)
    table = repeated_table(first, again).markdown()
    assert "| CNN | 6 | 4 | 1 | 3 | 0 | 1.27 | JAX step, device input over JAX epoch, device input: 1.25 (" in table
    assert "Not confirmed: CNN, PyTorch eager, device input over JAX step, device input: 2.00 (" in table
    assert "), in the other study 1.67 (1.67 to 1.67); CNN, " in table
    assert "Not confirmed" not in repeated_table(first, first).markdown()
    assert repeated_table(first, ()).rows == []
    assert len(repeat_ratios(synthetic.both_models(), synthetic.both_models())) == 2 * 78
    assert {one.change for one in repeat_ratios(study(), study())} == {1.0}


def test_a_reversal_is_counted_though_it_is_close():
    (one,) = repeat_ratios(study({EAGER: 100.0, STEP: 96.0}), study({EAGER: 100.0, STEP: 104.0}))
    assert (one.confirmed, one.contradicted) == (True, True)
    (same,) = repeat_ratios(study({EAGER: 100.0, STEP: 96.0}), study({EAGER: 100.0, STEP: 97.0}))
    assert (same.contradicted, same.same_verdict) == (False, True)
    assert "Decided in one study alone" not in repeated_table(study(), study()).markdown()
    wide = [timed(EAGER, 100.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((70, 90, 110))]
    (once,) = repeat_ratios(wide, study({EAGER: 100.0, STEP: 90.0}))
    assert (once.contradicted, once.same_verdict) == (False, False)
    table = repeated_table(wide, study({EAGER: 100.0, STEP: 90.0})).markdown()
    assert "Decided in one study alone: CNN, PyTorch eager, device input over JAX step, device input: 1.11 (" in table


def test_a_change_between_studies_has_welchs_interval():
    first = [timed(EAGER, 100.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((50, 52, 54))]
    again = [timed(EAGER, 100.0, i) for i in range(4)] + [timed(STEP, ms, i) for i, ms in enumerate((60, 61, 62, 63))]
    found = change_between(first, again, STEP, EAGER)
    expected = ttest_ind(np.log([60, 61, 62, 63]), np.log([50, 52, 54]), equal_var=False).confidence_interval()
    assert found.value == pytest.approx(math.sqrt(61 * 62) / 52)
    assert (found.interval.low, found.interval.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


def test_precisions_in_another_order_are_the_same_study():
    fast = dataclasses.replace(STEP, precision="bfloat16")
    first, again = study({EAGER: 2.0, STEP: 1.0, fast: 1.0}), study({fast: 1.0, STEP: 1.0, EAGER: 2.0})
    assert len(repeat_ratios(first, again)) == 1


def test_studies_without_a_cell_in_common_are_refused():
    with pytest.raises(InputError, match="without a cell in common"):
        repeat_ratios(study({EAGER: 1.0}), study({STEP: 1.0}))


def test_what_the_allocator_is_told_stands_beside_the_times():
    assert "Allocator:" not in speed_table(study()).markdown()
    table = speed_table(told(study())).markdown()
    assert "Allocator: MALLOC_ARENA_MAX=1, in every process; not the default" in table


def told(records):
    """The same under another allocator's settings."""
    return [dataclasses.replace(r, manifest=r.manifest | {"malloc": "MALLOC_ARENA_MAX=1"}) for r in records]


def test_another_allocators_times_stand_beside_the_first_ones():
    slower = [
        timed(cell, ms, repeat, page_faults=[9_000] * 2)
        for cell, ms in ((EAGER, 200.0), (STEP, 60.0))
        for repeat in range(5)
    ]
    table = allocator_table(told(study()), [*slower, failed(OP, "no")])
    assert table.rows == [
        ("CNN", EAGER.title, "as stated", "7", "781 (766 to 797)", "1", ""),
        ("CNN", EAGER.title, "default", "9,000", "1,563", "1", ""),
        ("CNN", STEP.title, "as stated", "7", "391 (383 to 398)", "0.50 (0.50 to 0.50)", ""),
        ("CNN", STEP.title, "default", "9,000", "469", "0.30 (0.30 to 0.30)", "0.60 (0.60 to 0.60)"),
    ]
    assert "As stated: MALLOC_ARENA_MAX=1. " in table.markdown()
    assert "No execution's verdict over PyTorch eager turns on what the allocator is told." in table.markdown()
    level = allocator_table(told(study()), study({EAGER: 50.0, STEP: 50.0})).markdown()
    assert f"turns on what the allocator is told: CNN, {STEP.title} (as stated: faster; default: undecided)." in level
    assert allocator_table(study(), ()).rows == []
    # 0.9 both times, scattered the first time and not the second: two verdicts, and nothing that changed.
    wide = [timed(EAGER, 100.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((70, 90, 110))]
    sentence = allocator_sentence(told(wide), study({EAGER: 100.0, STEP: 90.0}))
    assert sentence.startswith("Verdicts that differ, though a change of the ratio is not shown: CNN, JAX step")
    once = allocator_sentence(told(study({EAGER: 100.0, STEP: 99.0}, 1)), study({EAGER: 100.0, STEP: 101.0}, 1))
    assert once.startswith("Verdicts that differ, though")
    nothing = allocator_sentence(told(study()), study({STEP: 1.0}))
    assert nothing == "No execution was measured beside PyTorch eager under both of the allocator's settings."
    other = [dataclasses.replace(r, train_images=2 * r.train_images) for r in slower]
    with pytest.raises(InputError, match="two speed studies that differ: data is"):
        allocator_table(told(study()), other)


def test_studies_that_differ_confirm_nothing():
    other = [dataclasses.replace(r, environment=r.environment | {"cpu": "another"}) for r in study()]
    with pytest.raises(InputError, match="two speed studies that differ: cpu is"):
        repeat_ratios(study(), other)
    with pytest.raises(InputError, match="malloc is"):
        repeat_ratios(study(), told(study()))
    with pytest.raises(InputError, match=r"repeats \[0, 1\] only"):
        repeat_ratios(study(), study()[:-1])


# Tables 1 to 3.


def test_speed_table_takes_medians_ratios_and_the_larger_ceiling():
    table = speed_table(study()).markdown()
    # 63.3 MFLOP in 50.0 ms / 128 is 162 GFLOP/s; JAX's ceiling is 300, PyTorch's half of that.
    rows = {row[1]: row[2:] for row in speed_table(study()).rows}
    step, compiled = "391 (383 to 398)", "586 (574 to 598)"
    assert rows[STEP.title] == (step, "0.50 (0.50 to 0.50)", "0.67 (0.67 to 0.67)", "54 (53 to 55)", "5.5", "1.1")
    assert rows[EAGER.title] == ("781 (766 to 797)", "1", "1.33 (1.33 to 1.33)", "27 (26 to 28)", "-", "-")
    assert rows[COMPILE.title] == (compiled, "0.75 (0.75 to 0.75)", "1", "36 (35 to 37)", "6.0", "1.5")
    # Two of 13 cells have a 1 in place of a ratio's interval.
    assert "24 intervals of 95 %: on average 1.2 of them miss by chance." in table
    assert "takes 0.67 (0.67 to 0.67) of the time of the best of PyTorch (torch.compile, device input): JAX is" in table
    longer = "16.0 (16.0 to 16.0) times as long as the best of JAX and 10.7 (10.7 to 10.7) times as long as the best of"
    assert f"The recipe's own loop takes {longer} PyTorch." in table
    assert "take 0.80 (0.80 to 0.80) of the time of 4 single runs: less." in table
    assert (
        "Ratios are of medians over repeats; their 95 % intervals (Student's t, 3 repeats, of the logarithm)" in table
    )
    assert "came within logits 1e-06, gradients 1e-05, losses 1e-05 in float32 of PyTorch in float64" in table
    roofs = common_roofs(study(), "float32")
    assert (roofs.flops_per_s, roofs.bytes_per_s, roofs.ridge) == (3e11, 2e10, 15.0)


@pytest.mark.parametrize(
    ("epoch", "verdict"),
    [
        ((50, 51, 49), "JAX is faster."),
        ((160, 161, 159), "JAX is slower."),
        ((50, 120, 90), "undecided which is faster."),
    ],
)
def test_the_verdict_follows_the_interval(epoch, verdict):
    times = {EAGER: (80, 81, 79), EPOCH: epoch}
    records = [timed(cell, ms, i) for cell, of_cell in times.items() for i, ms in enumerate(of_cell)]
    assert f"(PyTorch eager, device input): {verdict}" in speed_table(records).markdown()
    one = [r for r in records if r.repeat == 0]
    assert " in the one repeat, no interval." in speed_table(one).markdown()
    assert "One repeat: ratios have no interval" in speed_table(one).markdown()


def test_a_cell_without_a_time_is_a_row_that_says_why():
    lost = Cell("cnn", "cudagraphs")
    records = [*study(), *(failed(lost, "it needs a GPU", repeat) for repeat in range(3))]
    table = speed_table(records).markdown()
    assert f"| CNN | {lost.title} | - | - | - | - | - |" in table
    assert f"CNN, {lost.title}: not measured (it needs a GPU)." in table
    assert break_even_table(records) == break_even_table(study())
    # One repeat that failed takes the cell's others with it.
    partly = [*study(), timed(lost, 9.0, 0), timed(lost, 9.0, 1), failed(lost, "killed", 2)]
    assert f"| CNN | {lost.title} | - | - |" in speed_table(partly).markdown()


def test_without_pytorch_eager_there_are_times_and_no_ratios():
    records = loaded(study(), EAGER, COMPILE)
    table = speed_table(records).markdown()
    assert "| CNN | JAX step, device input | 391 (383 to 398) | - |" in table
    assert "the best JAX engine" not in table
    assert break_even_table(records).rows == []
    assert attribution_table(records).rows == []
    texts = [text.get_text() for text in speed_matrix(records).axes[0].texts]
    assert "391 (372 to 410) µs" in texts


def test_attribution_finds_the_planted_factors():
    one = attribution(study(), "cnn", "float32")
    names = ["input pipeline", "library", "compilation", "slices and cores", "dispatch"]
    assert [stage.name for stage in one.stages] == names
    assert [stage.factor.value for stage in one.stages] == pytest.approx([8, 0.25, 5, 1.6, 1])
    shares = [math.log(factor) / math.log(16) for factor in (8, 0.25, 5, 1.6, 1)]
    assert [stage.share.value for stage in one.stages] == pytest.approx(shares)
    # Beside the path: torch.compile is PyTorch's best, and 500 ms are traced anew at every step, 400 not.
    assert [(stage.name, stage.after, stage.share) for stage in one.beside] == [
        ("the best of PyTorch", COMPILE, None),
        ("tracing in Python", TRACED, None),
    ]
    assert [stage.factor.value for stage in one.beside] == pytest.approx([800 / 75, 500 / 400])
    long_step, long_epoch = (dataclasses.replace(cell, control="long-epochs") for cell in (STEP, EPOCH))
    dispatch = attribution(study(MILLISECONDS | {long_step: 50.0, long_epoch: 40.0}), "cnn", "float32").beside[2]
    assert (dispatch.name, dispatch.factor.value) == ("dispatch, 391 steps an epoch", pytest.approx(1.25))
    assert one.total.value == pytest.approx(16)
    for stage in one.stages:
        assert stage.share.interval.low == pytest.approx(stage.share.value, abs=1e-9)
    table = attribution_table(study()).markdown()
    way = "PyTorch eager, device input | JAX op by op, traced once, device input"
    assert f"| CNN | library | {way} | 0.25 (0.25 to 0.25) | -50 % (-50 to -50) |" in table
    assert "takes 16.0 (16.0 to 16.0) times as long as JAX's whole-epoch program, which is faster. Times as" in table
    assert "stage by stage: input pipeline 8.00 (8.00 to 8.00), library 0.25 (0.25 to 0.25), compilation 5.00" in table
    assert "; of the whole, in logarithms: input pipeline 75 % (75 to 75), library -50 % (-50 to -50), comp" in table
    assert "one call an epoch of 12 steps" in table
    # Another study's factor stands beside this one's: 0.5 in place of 0.25, and 5 of 5; it lacks whole epochs.
    again = study({RECIPE: 800.0, EAGER: 100.0, TRACED: 200.0, JIT: 40.0, STEP: 25.0})
    table = attribution_table(study(), again).markdown()
    assert f"| CNN | library | {way} | 0.25 (0.25 to 0.25) | 0.50 (0.50 to 0.50): not confirmed | -50 % (" in table
    assert "| JAX plain jit, device input | 5.00 (5.00 to 5.00) | 5.00 (5.00 to 5.00) | 58 % (58 to 58) |" in table
    assert "| JAX epoch, device input | 16.0 (16.0 to 16.0) | - | 100 % |" in table
    # Without JAX's operations one by one, library and program cannot be told apart.
    assert attributions(loaded(study(), TRACED)) == []
    assert attributions(loaded(study(), JIT)) == []


def test_shares_add_to_one_whatever_the_scatter_and_may_be_negative_or_above_1():
    times = {
        RECIPE: (90, 100, 110),
        EAGER: (50, 52, 49),
        TRACED: (300, 290, 310),
        JIT: (24, 26, 25),
        STEP: (20, 25, 21),
        EPOCH: (30, 26, 31),
    }
    records = [timed(cell, ms, i) for cell, of_cell in times.items() for i, ms in enumerate(of_cell)]
    one = attribution(records, "cnn", "float32")
    shares = [stage.share for stage in one.stages]
    assert sum(share.value for share in shares) == pytest.approx(1)
    assert shares[4].value == pytest.approx(math.log(21 / 30) / math.log(100 / 30))
    assert math.prod(stage.factor.value for stage in one.stages) == pytest.approx(one.total.value)
    assert shares[1].value < 0
    assert shares[2].value > 1
    assert all(share.interval.low < share.value < share.interval.high for share in shares)
    # Dispatch's interval includes 1: neither said nor drawn to slow down.
    assert one.stages[4].factor.direction == 0
    assert re.search(
        r"dispatch 0.7\d \(0.\d\d to 1.\d\d, undecided\); of the whole", attribution_table(records).markdown()
    )


def test_an_undecided_whole_has_no_shares():
    times = {
        RECIPE: (90, 60, 70),
        EAGER: (50, 52, 49),
        TRACED: (300, 290, 310),
        JIT: (80, 75, 85),
        STEP: (60, 80, 70),
        EPOCH: (60, 90, 70),
    }
    records = [timed(cell, ms, i) for cell, of_cell in times.items() for i, ms in enumerate(of_cell)]
    one = attribution(records, "cnn", "float32")
    assert not one.stated
    assert all(stage.share is None for stage in one.stages)
    table = attribution_table(records).markdown()
    assert "undecided which is faster. Times as fast, stage by stage: input pipeline" in table
    assert "; of the whole no shares are stated." in table
    assert table.count("| not stated |") == 6
    # Its factors are drawn all the same.
    labels = [tick.get_text() for axes in attribution_waterfall(records).axes for tick in axes.get_yticklabels()]
    assert "of the whole" not in "".join(labels)
    # One repeat has shares, and says that they have no interval.
    alone = attribution_table([r for r in records if r.repeat == 0]).markdown()
    assert "One repeat, no interval." in alone
    assert "| 145 % |" in alone
    assert "dispatch 1.00; of the whole" in alone
    # The opposite outcome.
    slow = study(MILLISECONDS | {EPOCH: 1600.0})
    assert "takes 0.50 (0.50 to 0.50) times as long as JAX's whole-epoch program, which is slower." in (
        attribution_table(slow).markdown()
    )


def test_break_even_is_where_the_cumulative_times_meet():
    compiled, eager = timed(STEP, 50.0), timed(EAGER, 100.0)
    # Paid once: 5.5 s ahead and 0.5 s in the first epoch; 0.2 s.
    assert (compiled.one_time_s, eager.one_time_s) == (pytest.approx(6.0), pytest.approx(0.2))
    fast, slow = ((record.one_time_s, record.step_time_s) for record in (compiled, eager))
    n = break_even_steps(Cost(*fast), Cost(*slow))
    assert n == pytest.approx(5.8 / 0.05)
    assert fast[0] + n * fast[1] == pytest.approx(slow[0] + n * slow[1])
    assert break_even_steps(Cost(*slow), Cost(*slow)) == 0.0
    assert break_even_steps(Cost(1.0, 0.101), Cost(0.2, 0.1)) == math.inf
    assert break_even_steps(Cost(0.1, 0.101), Cost(0.2, 0.1)) == math.inf
    assert break_even_steps(Cost(0.1, 0.05), Cost(0.2, 0.1)) == 0.0
    table = break_even_table(study(repeats=1)).markdown()
    # 116 steps are 116 / 391 of the recipe's epochs.
    assert "| CNN | JAX step, device input | 6.0 | 50.00 | 116 | 0.30 | 12 |" in table
    assert "op by op" not in table
    assert "host input" not in table
    assert "recipe input" not in table
    assert "| never | never | never |" in break_even_table([timed(EAGER, 1.0), timed(STEP, 2.0)]).markdown()
    some = [timed(EAGER, 100.0, i) for i in range(2)] + [timed(STEP, ms, i) for i, ms in enumerate((50.0, 200.0))]
    assert "| never (116 to never, undecided) | never (0.30 to never, undecided) |" in break_even_table(some).markdown()
    # Every repeat crosses, but not by more than chance: neither the table nor the figure says that it pays.
    level = [timed(EAGER, 100.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((99.0, 80.0, 60.0))]
    assert "| 290 (145 to 5,800, undecided) | 0.74 (0.37 to 14.83, undecided) |" in break_even_table(level).markdown()
    assert [text.get_text() for text in break_even_curves(level).axes[0].texts] == ["290, undecided"]


@pytest.mark.parametrize(
    ("vit", "text"),
    [
        (3.0, "is 2.00 (2.00 to 2.00) times as fast for the CNN and 6.00 (6.00 to 6.00) for the ViT; ratio 3.00"),
        (0.5, "is 2.00 (2.00 to 2.00) times as fast for the CNN and 1.00 (1.00 to 1.00) for the ViT; ratio 0.50"),
    ],
)
def test_interaction_is_a_ratio_of_speed_ups(vit, text):
    records = synthetic.both_models(vit)
    eager = dataclasses.replace(EAGER, model="vit")
    ratio = interaction(records, ((dataclasses.replace(STEP, model="vit"), eager), (STEP, EAGER)))
    assert ratio.value == pytest.approx(vit)
    table = break_even_table(records).markdown()
    assert f"Beside PyTorch eager in the same layout, JAX step, device input {text}" in table
    assert ("the ViT fares better" if vit > 1 else "the CNN fares better") in table
    assert "host input is" not in table


@pytest.mark.parametrize(("vit_ms", "verdict"), [((125, 126, 124), "the ViT"), ((125, 250, 160), "undecided which")])
def test_an_interaction_where_both_slow_down_says_so(vit_ms, verdict):
    cnn_ms, eager_ms = (160, 161, 159), (100, 100, 100)
    times = {EAGER: eager_ms, COMPILE: cnn_ms}
    times |= {dataclasses.replace(cell, model="vit"): ms for cell, ms in ((EAGER, eager_ms), (COMPILE, vit_ms))}
    records = [timed(cell, ms, i) for cell, of_cell in times.items() for i, ms in enumerate(of_cell)]
    text = break_even_table(records).notes[0]
    assert "torch.compile, device input is 0.62 (0.62 to 0.63) times as fast for the CNN and 0." in text
    assert f": {verdict} fares better." in text
    assert "speeds up" not in text


# Tables 4 to 10.


def test_the_ledger_keeps_the_phases_apart():
    table = ledger_table(study()).markdown()
    assert "| CNN | JAX step, device input | 2 | 1.00 | 0.50 | 4.00 | 0.50 | 5.50 | 1.10 | - |" in table
    assert "| CNN | torch.compile, device input | 2 | - | - | - | 6.00 | 6.00 | 1.50 | 2 |" in table
    assert "| CNN | PyTorch eager, device input | 0 | - | - | - | 0.20 | - | - | 2 |" in table
    assert "cannot be told apart" in table
    assert cold_compile_s(timed(EAGER, 1.0)) is None
    assert slow_first_steps(timed(STEP, 50.0)) is None
    assert slow_first_steps(timed(EAGER, 50.0, first_step_time_s=[0.3, 0.056, 0.055, 0.3])) == 2
    assert slow_first_steps(timed(EAGER, 50.0, first_step_time_s=[0.3, 0.06])) == math.inf


def test_phases_stand_in_their_order():
    table = phases_table([synthetic.phases(cell) for cell in (EAGER, STEP)])
    assert table.rows[1] == ("CNN", "JAX step", "128", *(f"{value}.00" for value in range(1, 9)))
    assert table.header[3:] == tuple(
        f"{name}, ms"
        for name in ("Input", "Copy", "Forward", "Backward", "Update", "Step", "Call returns after", "Evaluation")
    )
    assert phases_table([]).rows == []


def test_time_to_accuracy_is_epochs_of_the_comparison_at_the_cells_speed():
    history = History([2.0] * 4, [0.3] * 4, [0.2, 0.55, 0.4, 0.61], [9.0] * 4, [0.1] * 4, [0.0] * 4)
    (run, other) = (
        run_record(history=history, train_images=128_000),
        run_record("vit", losses=(2.0,), train_images=128_000),
    )
    table = accuracy_table(synthetic.both_models(), [run, other])
    assert table.header == ("Model", "Execution", "30 %, s", "40 %, s", "50 %, s", "60 %, s")
    # 2 and 4 epochs of 1,000 batches of 128 at 50 ms, and 6 s paid once.
    assert ("CNN", "JAX step, device input", *["100 (106)"] * 3, "200 (206)") in table.rows
    assert ("CNN", "PyTorch eager, device input", *["200 (200)"] * 3, "400 (400)") in table.rows
    (vit,) = [row for row in table.rows if row[:2] == ("ViT", "JAX step, device input")]
    assert vit[3:] == ("67 (73)", "not reached", "not reached")
    assert not [row for row in table.rows if "4 seeds" in row[1]]
    assert accuracy_table(study(), []).rows == []
    # Another precision or batch size learns otherwise.
    assert accuracy_table(study({dataclasses.replace(STEP, precision="bfloat16"): 1.0}), [run]).rows == []
    assert accuracy_table(sweep(sizes=(32,)), [run]).rows == []
    lower = dataclasses.replace(run, history=dataclasses.replace(history, test_accuracy=[0.2, 0.2, 0.3, 0.51]))
    rows = accuracy_table(study({STEP: 50.0}), [run, lower]).rows
    assert rows == [("CNN", "JAX step, device input", "125 (131)", "150 (156)", "150 (156)", "1 of 2 seeds")]


def test_the_ladder_has_a_rung_for_each_input():
    (eager, step) = ladder_table(study()).rows
    assert eager == ("CNN", "PyTorch eager", "6,250 (6,125 to 6,375); 25 % wait", "-", "-", "781 (766 to 797)")
    assert step[2:] == (
        "5,859 (5,742 to 5,977); 25 % wait",
        "547 (536 to 558); 25 % wait",
        "469 (459 to 478)",
        "391 (383 to 398)",
    )
    assert ladder_table(loaded(study(), RECIPE)).rows[0][1] == "JAX step"


def test_a_planted_fixed_cost_is_found():
    records = sweep()
    ((_, cells),) = swept(records).items()
    fit = fixed_cost(records, cells)
    # 10 ms + 0.1 ms an image: half of a step of 100 images.
    assert (fit.batch_sizes, fit.half_size.mean) == ((32, 128, 512), pytest.approx(100))
    assert (fit.fixed_s.mean, fit.image_s.mean) == (pytest.approx(0.01, rel=0.02), pytest.approx(1e-4, rel=0.02))
    assert fit.half_size.interval.high == pytest.approx(100)
    assert fit.max_residual < 1e-9
    assert fixed_cost(records, cells[:2]) is None
    assert "| CNN | JAX step | 13.20 (412) | 22.80 (178) | 61.20 (120) |" in batch_table(records).markdown()
    assert "| 100 (100 to 100) | 0 |" in batch_table(records).markdown()


def test_what_a_sweep_does_not_reach_is_said():
    below = sweep(fixed_ms=1.0)
    assert "| below the smallest measured (32) | 0 |" in batch_table(below).markdown()
    above = sweep(fixed_ms=10.0, image_ms=0.001)
    assert "| above the largest measured (512) | 0 |" in batch_table(above).markdown()
    # Time that falls with the batch, or grows faster than it, bends no term below 0.
    falling = [timed(Cell("cnn", "step", batch_size=size), ms) for size, ms in ((32, 9.0), (128, 8.0), (512, 7.0))]
    assert fixed_cost(falling, [r.cell for r in falling]).half_size.mean == math.inf
    steep = [timed(Cell("cnn", "step", batch_size=size), ms) for size, ms in ((32, 1.0), (128, 10.0), (512, 100.0))]
    fit = fixed_cost(steep, [r.cell for r in steep])
    assert fit.fixed_s.mean == 0
    assert fit.max_residual > 0.3
    assert batch_table(study()).rows == []


def test_a_batch_size_that_failed_is_said():
    lost = [failed(Cell("cnn", "step", batch_size=512), "out of memory", repeat) for repeat in range(3)]
    records = [*study(), *[r for r in sweep(sizes=(32, 512)) if r.cell.batch_size == 32], *lost]
    table = batch_table(records)
    assert table.rows == [("CNN", "JAX step", "13.20 (412)", "50.00 (391)", "-", "-", "-", "-", "-")]
    assert table.notes[0] == "CNN, JAX step, device input, batches of 512: not measured (out of memory)."
    # Nothing else of the sweep: the table is there to say so.
    assert batch_table([*study(), *lost]).rows[0][-5] == "-"
    assert "not measured (" not in speed_table(records).markdown()


def test_the_fit_is_to_relative_errors():
    # A third point 10 % off the line through the others: the fit is no farther than that from any.
    points = ((32, 13.2), (128, 22.8), (512, 61.2 * 1.1))
    bent = [timed(Cell("cnn", "step", batch_size=size), ms) for size, ms in points]
    fit = fixed_cost(bent, [r.cell for r in bent])
    sizes, times = (np.array(column) for column in zip(*points, strict=True))
    slope, fixed = np.polyfit(sizes, times, 1, w=1 / times)
    assert (fit.fixed_s.mean, fit.image_s.mean) == (pytest.approx(fixed / 1e3), pytest.approx(slope / 1e3))
    assert fit.max_residual == pytest.approx(np.abs((fixed + slope * sizes) / times - 1).max())
    assert fit.half_size.interval is None


def test_costs_that_are_far_apart_are_pointed_at():
    table = cost_table(study(), [synthetic.costs(xla=0.9), synthetic.costs("vit", xla=1.02)]).markdown()
    assert "| CNN | Forward, MFLOP | 20.000 | 18.000 | -10.0 (more than 5 % apart) |" in table
    assert "| ViT | Training, MFLOP | 60.000 | 61.200 | +2.0 |" in table
    assert "| CNN | Training, MB | 4.000 | 3.600 | -10.0 |" in table
    assert "| CNN | Intensity, FLOP a byte | 15.0 | 15.0 | +0.0 |" in table
    assert (
        "Ceilings in float32: a large matrix product 300 GFLOP/s, a large copy 20 GB/s, the larger of the frameworks' "
        "medians (JAX 300 and 10, PyTorch 150 and 20); ridge point 15.0 FLOP a byte" in table
    )
    assert "measure/cost.py" in table


def test_memory_has_three_witnesses():
    table = memory_table(study()).markdown()
    assert "| CNN | JAX step, device input | - | 100 | 1,000 | 7 |" in table
    assert "| CNN | PyTorch eager, device input | - | - | 1,000 | 7 |" in table


def test_input_table_takes_medians_and_paired_ratios():
    records = synthetic.inputs()
    assert "| 2 | 8,000 (4,000 to 12,000) | 2,000 (1,000 to 3,000) | 4.0 |" in input_table(records).markdown()
    with pytest.raises(InputError, match="a measurement is missing"):
        input_table(records[:-1])


# Figures: their data are the records'.


def test_break_even_curves_start_at_what_is_paid_once():
    (axes,) = break_even_curves(study(repeats=1)).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == ["PyTorch eager", "torch.compile", "JAX plain jit", "JAX step", "JAX chunk", "JAX epoch"]
    assert lines["PyTorch eager"][0] == pytest.approx(0.2)
    assert lines["JAX step"][0] == pytest.approx(6.0)
    last = axes.lines[0].get_xdata()[-1]
    assert lines["JAX step"][-1] == pytest.approx(6.0 + 0.05 * last)
    assert axes.get_xlabel() == "optimiser steps"
    assert [text.get_text() for text in axes.texts] == ["290", "232", "116", "116", "116"]
    crossings = [dots.get_offsets()[0].tolist() for dots in axes.collections]
    assert crossings[2] == [pytest.approx(116), pytest.approx(0.2 + 11.6)]
    # Against PyTorch eager at its best: 80 ms a step in another layout.
    (axes,) = break_even_curves(study(MILLISECONDS | {LAST: 80.0}, repeats=1)).axes
    assert [text.get_text() for text in axes.texts] == ["1,160", "193", "193", "193"]
    assert len(break_even_curves(synthetic.both_models()).axes) == 2


def test_the_matrix_has_a_square_for_each_cell():
    lost = Cell("cnn", "cudagraphs")
    figure = speed_matrix([*synthetic.both_models(), failed(lost, "no GPU")])
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["CNN", "ViT"]
    ways = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(ways) == len(MILLISECONDS) + 1
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    squares = {(p.get_x() + 0.5, p.get_y() + 0.5): p for p in axes.patches}
    step, graphs, eager = (ways.index(cell.title) for cell in (STEP, lost, EAGER))
    # The best of PyTorch is torch.compile: 75 ms of the CNN, 100 of the ViT.
    assert texts[0, step] == "0.67 (0.67 to 0.67)"
    assert texts[1, step] == "0.67 (0.67 to 0.67)"
    assert texts[0, eager] == "1.33 (1.33 to 1.33)"
    assert texts[0, ways.index(COMPILE.title)] == "1"
    assert (texts[0, graphs], squares[0, graphs].get_hatch()) == ("n/a", "////")
    assert (texts[1, graphs], squares[1, graphs].get_hatch()) == ("", "")
    # Blue is faster, red slower.
    red, _, blue, _ = squares[1, step].get_facecolor()
    assert blue > red
    red, _, blue, _ = squares[0, ways.index(RECIPE.title)].get_facecolor()
    assert red > blue


def test_the_ledger_stacks_cold_beside_warm():
    (axes,) = compile_ledger(study()).axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[:2] == pytest.approx([6.0, 1.5])
    assert widths[2:9] == pytest.approx([1.0, 0.5, 4.0, 0.5, 0.2, 0.1, 0.8])
    assert [bar.get_x() for bar in axes.patches[2:6]] == pytest.approx([0.0, 1.0, 1.5, 5.5])
    assert [text.get_text() for text in axes.texts][:4] == ["6.0 s", "1.5 s", "6.0 s", "1.1 s"]
    cold_only = [dataclasses.replace(r, warm_compile_times={}) for r in study(repeats=1)]
    assert "not measured" in [text.get_text() for text in compile_ledger(cold_only).axes[0].texts]


def test_the_roofline_has_a_marker_for_each_execution():
    records = synthetic.both_models()
    (axes,) = roofline(records).axes
    roof = axes.lines[0]
    assert roof.get_xdata()[1] == pytest.approx(15.0)
    assert roof.get_ydata()[1:].tolist() == pytest.approx([300, 300])
    assert roof.get_ydata()[0] == pytest.approx(20 * roof.get_xdata()[0])
    points = {bars.get_label(): bars.lines[0].get_xydata()[0] for bars in axes.containers}
    x, y = points["CNN, JAX step"]
    # 63.3 MFLOP an image, 128 images in 50 ms.
    assert y == pytest.approx(63.32e-3 * 128 / 0.05, rel=0.02)
    assert x == pytest.approx(intensity(timed(STEP, 1.0)), rel=0.25)
    assert points["ViT, PyTorch eager"][1] == pytest.approx(334.2e-3 * 128 / 0.4, rel=0.02)
    assert len(points) == 2 * 8


def test_the_ladders_points_are_where_the_records_are():
    (axes,) = input_ladder(study()).axes
    eager, step = axes.containers
    assert eager.lines[0].get_xdata().tolist() == [0, 3]
    assert step.lines[0].get_ydata().tolist() == pytest.approx([1e3 / 128 * ms for ms in (750, 70, 60, 50)])
    ((low, high), *_) = [segment[:, 1] for segment in step.lines[2][0].get_segments()]
    assert low < 1e3 / 128 * 750 < high
    assert not input_ladder(study(repeats=1)).axes[0].containers[0].has_yerr
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["recipe", "host", "arrays", "device"]


def test_the_sweep_has_points_a_law_and_its_mark():
    (axes,) = batch_sweep([*sweep(), *sweep("eager", 20.0, 0.1)]).axes
    step, eager = axes.containers
    assert step.lines[0].get_xdata().tolist() == [32, 128, 512]
    assert step.lines[0].get_ydata().tolist() == pytest.approx([13.2, 22.8, 61.2])
    laws = [line for line in axes.lines if len(line.get_xdata()) == 50]
    assert laws[0].get_ydata()[0] == pytest.approx(13.2, rel=0.01)
    marks = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert marks == pytest.approx([100, 200])
    assert step.get_label() == "JAX step, half fixed: 100 (100 to 100)"
    assert eager.get_label() == "PyTorch eager, half fixed: 200 (200 to 200)"


def test_the_waterfall_goes_from_the_recipes_time_to_the_epochs():
    figure = attribution_waterfall(synthetic.both_models())
    cnn, _, beside, _ = figure.axes
    bars = [(p.get_x(), p.get_x() + p.get_width()) for p in cnn.patches if isinstance(p, Rectangle)]
    ends = [1e3 / 128 * ms for ms in (800, 100, 400, 80, 50, 50)]
    assert bars == [pytest.approx(pair) for pair in itertools.pairwise(ends)]
    assert cnn.get_xscale() == "log"
    hatches = [p.get_hatch() for p in cnn.patches]
    assert hatches[:3] == ["", "////", ""]
    texts = [tick.get_text() for tick in beside.get_yticklabels()]
    assert texts[2] == "library: 0.25 (0.25 to 0.25) times as fast; -50 % (-50 to -50) of the whole"
    titles = [axes.get_title() for axes in figure.axes]
    assert "CNN: 16.0 (16.0 to 16.0) times as fast in all" in titles


def test_a_figure_without_records_is_not_drawn(drawn):
    assert draw_speed_pictures([]) == []
    assert draw_speed_pictures([failed(STEP, "no")]) == []
    assert [p.name for p in draw_speed_pictures([timed(STEP, 1.0)])] == [
        "figure5_matrix",
        "figure6_ledger",
        "figure7_roofline",
    ]
    assert [p.name for p in draw_speed_pictures([timed(RECIPE, 1.0)])] == ["figure5_matrix"]
    assert [p.name for p in drawn] == [design.name for design in DESIGNS]
    assert all(len(picture.alternative) > 40 for picture in drawn)


# The page, the summary, the commands.


def results(repeats=3):
    records = [r for r in synthetic.both_models() if r.repeat < repeats]
    sizes = [r for r in [*sweep(repeats=repeats), *sweep("eager", repeats=repeats)] if r.cell.batch_size != 128]
    lost = [failed(Cell("cnn", "cudagraphs"), "<b>no GPU</b>", repeat) for repeat in range(repeats)]
    measured = [synthetic.phases(cell) for cell in (EAGER, STEP)]
    # The one that failed comes first: it has no environment.
    cells = [*lost, *records, *sizes]
    return Results(cells=cells, phases=measured, inputs=synthetic.inputs(), costs=[synthetic.costs()])


@pytest.fixture(scope="module")
def drawn():
    """The pictures of `results`."""
    return draw_pictures(results())


def test_the_page_shows_the_study_and_is_valid(drawn):
    made = results()
    page = build_page(made, drawn)
    html5lib.HTMLParser(strict=True).parse(page)
    text = unescape(page)
    assert "What compiling buys, and what it costs" in text
    assert page.count("<svg") == len(DESIGNS) == 7
    assert "<image" not in page
    assert "<b>no GPU" not in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    for tables in made.tables().values():
        for table in tables:
            assert table.title in text
            assert all(note in text for note in table.notes)
    for design in DESIGNS:
        assert design.caption in text
    assert "Speed was measured on one machine, 3 times a cell" in text


def test_one_repeat_makes_a_page_too():
    made = results(repeats=1)
    page = build_page(made, draw_pictures(made))
    html5lib.HTMLParser(strict=True).parse(page)
    assert "one process, no interval" in page
    assert "Speed was measured on one machine, 1 time a cell: no interval." in page


def test_the_readme_gets_three_tables_and_the_page_the_rest():
    tables = results().tables()
    assert {name: len(found) for name, found in tables.items()} == {"training_speed": 3, "training_speed_details": 7}
    assert set(tables) - set(PAGE_ONLY) == {"training_speed"}
    assert list(Results(cells=study()).tables()) == ["training_speed", "training_speed_details"]


def test_the_report_is_made_for_a_readme_without_the_details(tmp_path, capsys):
    save_cells(tmp_path / "speed" / "cells.jsonl", [timed(RECIPE, 800.0)])
    save_lines(tmp_path / "speed" / "costs.jsonl", [synthetic.costs()])
    readme = tmp_path / "README.md"
    readme.write_text("<!-- training_speed -->\n<!-- /training_speed -->\n")
    report.main(report.Args((tmp_path / "speed",), tmp_path / "out", (readme,)))
    assert "Speed: every execution beside PyTorch eager" in readme.read_text()
    assert "What a training image costs" not in readme.read_text()
    assert "What a training image costs" in capsys.readouterr().out
    assert (tmp_path / "out" / "figures" / "figure5_matrix.png").exists()


def test_the_summary_holds_the_numbers():
    summary = results().summary()["training_speed"]
    json.dumps(summary, allow_nan=False)
    cnn = summary["cnn"]
    assert cnn["over_pytorch_eager"]["JAX step, device input"]["ratio"] == pytest.approx(0.5)
    assert cnn["over_pytorch_eager"]["JAX step, device input"]["interval"] == pytest.approx([0.5, 0.5])
    assert cnn["attribution"]["float32"]["input pipeline"]["share"]["value"] == pytest.approx(0.75)
    assert cnn["break_even_steps"]["JAX step, device input"] == {"steps": pytest.approx(116), "decided": True}
    assert cnn["not_measured"] == {Cell("cnn", "cudagraphs").title: "<b>no GPU</b>"}
    assert summary["interaction"]["JAX step, device input"]["ratio"] == pytest.approx(3.0)
    never = summarise_speed(study({EAGER: 10.0, STEP: 20.0}))
    assert never["cnn"]["break_even_steps"] == {STEP.title: {"steps": None, "decided": True}}
    assert summarise_speed(sweep())["cnn"]["half_fixed_batch_size"]["step, float32"]["mean"] == pytest.approx(100)


def test_a_second_folder_of_the_same_cells_is_a_repetition(tmp_path):
    later = [dataclasses.replace(r, started_at="2026-01-03T03:04:05+00:00") for r in study()]
    studies = {"one": study(), "two": later, "three": told(later), "four": told(study())}
    for name, records in studies.items():
        save_cells(tmp_path / name / "cells.jsonl", records)
    save_lines(tmp_path / "one" / "costs.jsonl", [synthetic.costs()])
    one, two, three, four = (tmp_path / name for name in studies)
    made = gather([one, three, two])
    assert (made.cells, made.cells_again, made.cells_other_malloc) == (study(), later, told(later))
    assert len(made.costs) == 1
    titles = [table.title for table in made.tables()["training_speed"]]
    assert titles[-2:] == ["Measured again", "What the allocator's settings change"]
    ratios = made.summary()["training_speed"]["other_malloc"]["cnn"]
    assert ratios["JAX step, device input"]["ratio"] == pytest.approx(0.5)
    assert made.summary()["training_speed"]["repeated"] == {"ratios": 78, "confirmed": 78, "confirmed_backwards": 78}
    with pytest.raises(InputError, match="four: one folder of speed measurements too many"):
        gather([one, two, three, four])
    with pytest.raises(InputError, match="one: holds measurements of the first folder's, which confirm nothing"):
        gather([one, one])


def test_the_page_has_each_command_once():
    second = f"{COMMAND} --engines eager step --batch-sizes 32 512"
    swept_sizes = [dataclasses.replace(r, command=second) for r in sweep() if r.cell.batch_size != 128]
    page = build_page(Results(cells=[*study(), *swept_sizes], cells_again=study()), [])
    for command in (COMMAND, second, f"{COMMAND} --out runs/training_speed_again"):
        folder = "" if "--out" in command else " --out runs/training_speed"
        assert page.count(f"<pre>{command}{folder}</pre>") == 1
    assert "<td>2026-01-02</td>" in page


def test_the_main_batch_size_is_the_first_records():
    sizes = [r for r in sweep(sizes=(16, 32, 64, 256, 512)) if r.cell.batch_size != 128]
    records = [*study({EAGER: 1.0}), *sizes]
    assert [row[1] for row in speed_table(records).rows] == [EAGER.title]


def test_all_roofs_of_a_precision_are_one():
    # The fastest product was measured beside cells that the table and the figure do not show.
    fast = [dataclasses.replace(r, ceiling_flops_per_s=6e11) for r in sweep(sizes=(32, 512))]
    records = [*study({EAGER: 100.0, STEP: 50.0}), *fast]
    assert common_roofs(records, "float32").flops_per_s == 6e11
    assert "| 0.50 (0.50 to 0.50) | 27 (26 to 28) |" in speed_table(records).markdown()
    assert max(roofline(records).axes[0].lines[0].get_ydata()) == pytest.approx(600)
    assert "Roofs in float32: 600 GFLOP/s" in next(one for one in DESIGNS if one.name == "figure7_roofline").say(
        records
    )
    assert "a large matrix product 600 GFLOP/s" in cost_table(records, [synthetic.costs()]).markdown()


def test_the_best_is_so_by_its_median():
    """A burst in one process decides nothing."""
    times = {STEP: (10, 10, 1000), EPOCH: (20, 20, 20)}
    records = [timed(cell, ms, i) for cell, of in times.items() for i, ms in enumerate(of)]
    assert best(records, STEP, "jax") == STEP


def test_compiling_has_to_beat_pytorch_eager_at_its_best():
    """In table and summary: of 40 ms in another layout, not of 100. Between the models, in one layout."""
    records = synthetic.both_models() + study({LAST: 40.0})
    rows = {(row[0], row[1]): row[4] for row in break_even_table(records).rows}
    assert rows["CNN", STEP.title] == "never"
    assert rows["ViT", STEP.title] != "never"
    # 400 / 66.7 times as fast for the ViT; 100 / 50 for the CNN.
    assert interactions(records)[STEP].value == pytest.approx((400 / (200 / 3)) / (100 / 50))
    assert summarise_speed(records)["cnn"]["break_even_steps"][STEP.title]["steps"] is None


@pytest.mark.parametrize(
    ("cell", "counts"),
    [
        (Cell("cnn", "step", "arrays"), True),
        (Cell("cnn", "jit"), True),
        (LAST, True),
        (Cell("cnn", "compile", control="channels-last"), True),
        # Other steps, other epochs, other batches, several runs, or a pipeline beside them.
        (Cell("cnn", "step", control="no-dropout"), False),
        (Cell("cnn", "step", control="long-epochs"), False),
        (Cell("cnn", "step", batch_size=512), False),
        (Cell("cnn", "epoch", seeds=4), False),
        (Cell("cnn", "step", "host"), False),
        (Cell("cnn", "eager", "recipe"), False),
    ],
)
def test_whatever_takes_the_same_steps_may_be_the_best_of_its_framework(cell, counts):
    records = study(MILLISECONDS | {cell: 1.0})
    assert (best(records, STEP, cell.framework) == cell) is counts
    assert (f"({cell.title})" in " ".join(conclusions(records, "cnn", "float32"))) is counts or cell.seeds > 1


def test_a_verdict_says_what_another_study_makes_of_it():
    """Study and verdict in one line, by when they began, whatever the outcome."""

    def said(again_ms, begun="2026-01-03T00:00:00+00:00"):
        again = [dataclasses.replace(r, started_at=begun) for r in study({COMPILE: 75.0, STEP: again_ms})]
        records = study({COMPILE: 75.0, STEP: 50.0, EAGER: 100.0})
        (verdict,) = Results(cells=records, cells_again=again).verdict
        return verdict

    assert "JAX is faster; the later study agrees: 0.60 (" in said(45.0)
    assert "JAX is faster; the later study contradicts this: 1.20 (1.20 to 1.20)" in said(90.0)
    assert "JAX is faster; the earlier study contradicts this" in said(90.0, "2025-12-31T00:00:00+00:00")
    noisy = [timed(COMPILE, 75.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((60, 70, 90))]
    (verdict,) = Results(cells=study({COMPILE: 75.0, STEP: 50.0, EAGER: 100.0}), cells_again=noisy).verdict
    assert "JAX is faster; the earlier study leaves it undecided: 0.93 (" in verdict
    # Wherever it stands.
    records, again = study({COMPILE: 75.0, STEP: 50.0, EAGER: 100.0}), study({COMPILE: 75.0, STEP: 90.0})
    page = build_page(Results(cells=records, cells_again=again), [])
    assert page.count("JAX is faster") == page.count("JAX is faster; the earlier study contradicts this") >= 3
    # By its own best: in the other study PyTorch's is another, and JAX takes 3 times as long.
    (verdict,) = Results(cells=records, cells_again=study({COMPILE: 75.0, STEP: 60.0, LAST: 20.0})).verdict
    assert (
        "contradicts this: 3.00 (3.00 to 3.00), JAX step, device input over PyTorch eager, device input, cha" in verdict
    )
    # One repeat contradicts nothing.
    (verdict,) = Results(cells=records, cells_again=study({COMPILE: 75.0, STEP: 90.0}, repeats=1)).verdict
    assert "contradicts" not in verdict
    # Undecided here, decided there.
    wide = [timed(COMPILE, 75.0, i) for i in range(3)] + [timed(STEP, ms, i) for i, ms in enumerate((60, 70, 90))]
    (verdict,) = Results(cells=wide, cells_again=study({COMPILE: 75.0, STEP: 90.0})).verdict
    assert "undecided which is faster; the earlier study finds JAX slower: 1.20" in verdict
    (verdict,) = Results(cells=study(), cells_again=study({EAGER: 1.0})).verdict
    assert "JAX is faster; not measured in the earlier study" in verdict


def test_how_many_steps_were_timed_is_counted():
    records = [dataclasses.replace(r, epoch_time_s=r.epoch_time_s * 4) if r.cell == EPOCH else r for r in study()]
    assert "24 to 96 timed steps a process" in speed_table(records).markdown()
    assert "; 24 timed steps a process" in speed_table(study()).markdown()


# What the ratios owe to something else than compiling, and what disturbed them.


def test_controls_stand_beside_what_they_change_and_nowhere_else():
    vit, vit_step = (dataclasses.replace(cell, model="vit") for cell in (EAGER, STEP))
    bare, bare_step = (dataclasses.replace(cell, control="no-dropout") for cell in (vit, vit_step))
    times = {vit: 400.0, vit_step: 200.0, bare: 250.0, bare_step: 225.0, LAST: 40.0}
    records = [*study(), *study(times)]
    table = control_table(records)
    assert table.rows == [
        ("ViT", EAGER.title, "no dropout", "3,125 (3,063 to 3,188)", "1,953 (1,914 to 1,992)", "0.62 (0.62 to 0.62)"),
        ("ViT", STEP.title, "no dropout", "1,563 (1,531 to 1,594)", "1,758 (1,723 to 1,793)", "1.12 (1.12 to 1.12)"),
        ("CNN", EAGER.title, "channels last", "781 (766 to 797)", "312 (306 to 319)", "0.40 (0.40 to 0.40)"),
    ]
    text = table.markdown()
    lead = "ViT, no dropout on both sides: JAX step takes 0.90 (0.90 to 0.90, faster)"
    assert f"{lead} of PyTorch eager's time; as the recipe has it 0.50 (" in text
    # What changes no step is in the matrix, and may be the best.
    assert "channels last: JAX" not in text
    assert best(records, EAGER, "torch") == LAST
    assert "masks are drawn by hash in JAX and Mersenne Twister in PyTorch" in text
    stated = [record for record in records if record.cell.same_step]
    assert speed_table(records).rows == speed_table(stated).rows
    assert break_even_table(records).rows == break_even_table(stated).rows
    assert attribution_table(records).rows == attribution_table(stated).rows
    assert [row[2] for row in control_table(stated).rows] == ["channels last"]
    assert summarise_speed(records)["cnn"]["controls"][LAST.title]["ratio"] == pytest.approx(0.4)
    assert "ViT, no dropout on both sides: JAX step takes" in build_page(Results(cells=records), [])


def test_what_the_matrix_libraries_differ_by_is_said():
    (said,) = matrix_library_sentences(study())
    assert said.startswith(
        "In float32 a large matrix product is 2 times as fast in JAX as in PyTorch here (300 and 150"
    )
    assert matrix_library_sentences(study({EAGER: 1.0})) == []
    assert said in attribution_table(study()).markdown()


def test_what_jax_computes_beyond_a_batch_is_said():
    assert "JAX pads" not in speed_table(study()).markdown()
    padded = [
        dataclasses.replace(r, manifest=r.manifest | {"computed_batch_size": 144, "devices": 6})
        for r in study({STEP: 1.0})
    ]
    text = speed_table([*study({EAGER: 1.0}), *padded]).markdown()
    assert text.count("JAX pads the CNN's batches of 128 to 144, whole slices for each of 6 devices, and its ") == 1


def test_a_busy_machine_and_an_interruption_are_said():
    quiet = speed_table(study()).markdown()
    assert "The processes of a repeat began within 1 min of each other. " in quiet
    assert "Other work" not in quiet
    *records, last = study({EAGER: 100.0, STEP: 50.0})
    busy = {"environment": last.environment | {"cpu_cores": 2, "load_average": 6.8}}
    records = [dataclasses.replace(r, environment=r.environment | {"cpu_cores": 2}) for r in records]
    late = dataclasses.replace(last, started_at="2026-01-02T05:04:05+00:00", **busy)
    text = speed_table([*records, late]).markdown()
    assert "began within 120 min of each other. Other work ran beside: 6.8 processes wanted one of 2 cores." in text


def test_the_verdict_ends_with_the_best_of_both_frameworks():
    (said,) = Results(cells=synthetic.both_models()).verdict
    lead = "Speed (some images, batches of 128, 3 fresh processes a cell, 2 cores of CPU): CNN: the best of JAX ("
    assert said.startswith(f"{lead}JAX step, device input) takes 0.67 (0.67 to 0.67) of the time of")
    assert " ViT: the best of JAX (" in said
    assert Results(cells=[failed(EAGER, "no")]).verdict == []


@pytest.mark.parametrize("name", ["inputs", "phases", "costs"])
def test_a_line_that_lacks_something_is_named(name, tmp_path):
    save_cells(tmp_path / "cells.jsonl", study({EAGER: 1.0}))
    save_lines(tmp_path / f"{name}.jsonl", [{}])
    with pytest.raises(InputError, match=rf"{name}.jsonl, line 1: not a measurement \(lacks \["):
        gather([tmp_path])


@pytest.mark.parametrize(
    ("name", "good", "field"),
    [
        ("inputs", synthetic.inputs()[0], "images_per_s"),
        ("phases", synthetic.phases(EAGER), "step_ms"),
        ("costs", synthetic.costs(), "xla_training_flops"),
    ],
)
def test_a_number_that_a_line_cannot_have_is_named(name, good, field, tmp_path):
    save_cells(tmp_path / "cells.jsonl", study({EAGER: 1.0}))
    save_lines(tmp_path / f"{name}.jsonl", [good, good | {field: -5.0}])
    with pytest.raises(InputError, match=rf"{name}.jsonl, line 2: .*{field} holds -5.0"):
        gather([tmp_path])
