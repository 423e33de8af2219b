"""What the speed study computes is what its records say: ratios, shares, break-even, repetition, fixed costs."""

import dataclasses
import json
import math

import numpy as np
import pytest
import synthetic_speed as synthetic
from scipy.stats import ttest_ind
from synthetic_speed import (
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
    scattered,
    speed,
    study,
    sweep,
    timed,
)

from jaxcompare.analysis.break_even import Cost, break_even_steps
from jaxcompare.analysis.contrast import ITSELF, Pair, image_times, ratio
from jaxcompare.analysis.contrast import change as change_between
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.roofline import common_roofs
from jaxcompare.analysis.speed import baseline, best
from jaxcompare.analysis.statistics import Spread
from jaxcompare.cell_frame import to_csv, to_frame
from jaxcompare.cell_records import load_cells, save_cells
from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.lines import TruncatedLine

LAST = Cell("cnn", "eager", control="channels-last")

WIDE = {STEP: (49.5, 50, 50.5), EPOCH: (60, 40, 20), COMPILE: (74, 75, 76)}

UNEVEN = {EAGER: (2.0, 4.0, 5.0), EPOCH: (1.0, 3.0, 2.0)}
"""Steps in ms by repeat: medians 4 and 2; ratios 0.5, 0.75, 0.4."""


def over(records, cell=STEP, other=EAGER):
    return ratio(image_times(to_frame(records)), Pair("", "", (cell,), (other,)))


# Ratios: paired by repeat, with intervals, of one measurement.


def test_ratios_are_of_medians_and_intervals_of_pairs():
    found = over(scattered(UNEVEN), EPOCH)
    assert found.value == pytest.approx(2 / 4)
    # Student's t with 2 degrees of freedom, 4.303, of the pairs' logarithms.
    assert (found.interval.low, found.interval.high) == pytest.approx((0.241, 1.173), abs=0.001)
    assert found.interval.method == "Student's t, 3 repeats"
    assert found.direction == 0
    assert over(study()).direction == -1
    alone = over(study(repeats=1))
    assert (alone.value, alone.interval, alone.direction) == (pytest.approx(0.5), None, -1)


def test_the_order_of_the_processes_does_not_matter():
    records = scattered(UNEVEN)
    assert over(records[::-1], EPOCH) == over(records, EPOCH)


def test_the_baseline_is_eager_of_the_same_precision_and_batch_size():
    cells = [EAGER, dataclasses.replace(EAGER, batch_size=32), dataclasses.replace(EAGER, precision="bfloat16")]
    assert baseline(cells, Cell("cnn", "epoch", seeds=4)) == EAGER
    assert baseline(cells, dataclasses.replace(STEP, batch_size=32)) == cells[1]
    assert baseline(cells, dataclasses.replace(STEP, precision="bfloat16")) == cells[2]
    assert baseline(cells, dataclasses.replace(STEP, model="vit")) is None
    assert baseline([RECIPE], STEP) is None
    assert baseline([EAGER], LAST) == EAGER
    assert baseline([EAGER], dataclasses.replace(STEP, control="no-dropout")) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"environment": r.environment | {"cpu": "another"}}, "cpu is CPU in one, another in another"),
        (lambda r: {"git_commit": "abc"}, "commit is"),
        (lambda r: {"train_images": 64}, "train_images is"),
        (lambda r: {"manifest": r.manifest | {"tf32": True}}, "tf32 is False in one, True in another, both float32"),
        (lambda r: {"manifest": r.manifest | {"malloc": "X=1"}}, "malloc is  in one, X=1 in another"),
        (lambda r: {"manifest": r.manifest | {"threads": 1}}, "threads is 2 in one, 1 in another"),
        (lambda r: {"data_fingerprint": "other"}, "data_fingerprint is"),
        (lambda r: {"parity": r.parity | {"logits": 0.5}}, "4 seeds: did not pass the parity gate: logits off by 5"),
        (lambda r: {"repeat": 1}, r"4 seeds: a repeat is there twice, of \[0, 1, 1\]"),
    ],
)
def test_cells_that_are_no_one_measurement_are_refused_and_named(change, message):
    *records, last = study()
    with pytest.raises(InputError, match=message):
        speed([*records, dataclasses.replace(last, **change(last))])


def test_a_measurement_that_did_not_come_to_its_end_is_refused():
    with pytest.raises(InputError, match=r"cnn JAX epoch, resident input, 4 seeds: repeats \[0, 1\] only"):
        speed(study()[:-1])


def test_a_file_of_cells_is_read_strictly(tmp_path):
    records = study()
    last, path = records[-1], tmp_path / "cells.jsonl"
    save_cells(path, records)
    assert load_cells(path) == records
    for change, message in (
        ({"epoch_time_s": []}, r"epoch_time_s holds \[\]"),
        ({"epoch_time_s": [1.0, 0.0]}, "epoch_time_s.1 holds 0.0"),
        ({"epoch_time_s": ["x"]}, "epoch_time_s"),
        ({"warm_up_time_s": [math.nan]}, "warm_up_time_s.0 holds nan"),
        ({"ceiling_flops_per_s": -1.0}, "ceiling_flops_per_s holds -1.0"),
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


def test_the_frame_is_a_row_a_process():
    frame = to_frame([timed(STEP, 50.0), timed(COMPILE, 75.0), failed(EAGER, "no")])
    assert list(frame.cell) == [STEP, COMPILE, EAGER]
    assert frame.image_time_s[0] == pytest.approx(0.05 / 128)
    # 5.5 s ahead; torch.compile's first step, which compiles.
    assert list(frame.cold_compile_s[:2]) == pytest.approx([5.5, 6.0])
    assert list(frame.warm_compile_s[:2]) == pytest.approx([1.1, 1.5])
    assert list(frame.loc[0, ["cold_trace_s", "cold_lower_s", "cold_xla_s", "warm_xla_s"]]) == [1.0, 0.5, 4.0, 0.8]
    assert math.isnan(frame.cold_xla_s[1])
    assert frame.page_faults[0] == 7
    assert frame.message[2] == "no"
    assert math.isnan(frame.image_time_s[2])
    header, *rows = to_csv(frame).splitlines()
    assert len(rows) == 3
    assert "cell," not in header
    assert header.startswith("framework,model,engine,input,precision,batch_size,seeds,control,repeat,")


# The same grid twice, and under another allocator.


def test_another_study_confirms_what_is_within_the_interval_or_close():
    first = scattered({EAGER: (99, 100, 101), **WIDE})
    again = study({EAGER: 100.0, STEP: 60.0, EPOCH: 30.0, COMPILE: 70.0, OP: 1.0})
    found = {(one.cell.engine, one.other.engine): one for one in speed(first, again).repeated}
    # Six pairs of four cells; a cell that one study lacks has none.
    assert len(found) == 6
    # 50 to 60 is more than 10 % apart, and outside an interval that is narrow.
    step, epoch, compiled = (found["eager", name] for name in ("step", "epoch", "compile"))
    assert (step.change, step.confirmed) == (pytest.approx(1.2), False)
    assert (epoch.change, epoch.confirmed) == (pytest.approx(40 / 30), True)
    assert (compiled.change, compiled.confirmed) == (pytest.approx(75 / 70), True)
    assert speed(first).repeated == []
    assert len(speed(synthetic.both_models(), synthetic.both_models()).repeated) == 2 * 78
    assert {one.change for one in speed(study(), study()).repeated} == {1.0}


def test_a_reversal_is_counted_though_it_is_close():
    (one,) = speed(study({EAGER: 100.0, STEP: 96.0}), study({EAGER: 100.0, STEP: 104.0})).repeated
    assert (one.confirmed, one.contradicted) == (True, True)
    (same,) = speed(study({EAGER: 100.0, STEP: 96.0}), study({EAGER: 100.0, STEP: 97.0})).repeated
    assert not same.contradicted
    wide = scattered({EAGER: (100, 100, 100), STEP: (70, 90, 110)})
    (once,) = speed(wide, study({EAGER: 100.0, STEP: 90.0})).repeated
    assert not once.contradicted


def test_a_change_between_studies_has_welchs_interval():
    first = scattered({EAGER: (100,) * 3, STEP: (50, 52, 54)})
    again = scattered({EAGER: (100,) * 4, STEP: (60, 61, 62, 63)})
    times = [image_times(to_frame(records)) for records in (first, again)]
    found = change_between(*times, Pair("", "", (STEP,), (EAGER,)))
    expected = ttest_ind(np.log([60, 61, 62, 63]), np.log([50, 52, 54]), equal_var=False).confidence_interval()
    assert found.value == pytest.approx(math.sqrt(61 * 62) / 52)
    assert (found.interval.low, found.interval.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


def test_precisions_in_another_order_are_the_same_study():
    fast = dataclasses.replace(STEP, precision="bfloat16")
    first, again = study({EAGER: 2.0, STEP: 1.0, fast: 1.0}), study({fast: 1.0, STEP: 1.0, EAGER: 2.0})
    assert len(speed(first, again).repeated) == 1


def test_studies_that_differ_confirm_nothing():
    other = [dataclasses.replace(r, environment=r.environment | {"cpu": "another"}) for r in study()]
    with pytest.raises(InputError, match="two speed studies that differ: cpu is"):
        speed(study(), other)
    with pytest.raises(InputError, match="malloc is"):
        speed(study(), under_malloc(study()))
    with pytest.raises(InputError, match=r"repeats \[0, 1\] only"):
        speed(study(), study()[:-1])
    with pytest.raises(InputError, match="without a cell in common"):
        speed(study({EAGER: 1.0}), study({STEP: 1.0}))
    images = [dataclasses.replace(r, train_images=64, epoch_images=64) for r in study()]
    with pytest.raises(InputError, match="train_images is"):
        speed(under_malloc(study()), (), images)


def under_malloc(records):
    """The same under another allocator's settings."""
    return [dataclasses.replace(r, manifest=r.manifest | {"malloc": "X=1"}) for r in records]


def test_another_allocators_ratios_stand_beside_the_first_ones():
    slower = [
        timed(cell, ms, i, page_faults=[9_000] * 2) for cell, ms in ((EAGER, 200.0), (STEP, 60.0)) for i in range(5)
    ]
    eager, step = speed(under_malloc(study()), (), [*slower, failed(OP, "no")]).allocated.itertuples()
    assert (eager.cell, eager.here, eager.there, eager.change) == (EAGER, ITSELF, ITSELF, None)
    assert [one.value for one in (step.here, step.there, step.change)] == pytest.approx([0.5, 0.3, 0.6])
    assert (step.faults_here, step.faults_there) == (Spread(7, 7, 7), Spread(9_000, 9_000, 9_000))
    assert len(speed(study()).allocated) == 0


# Stages: where the speed-up comes from.


def test_stages_find_the_planted_factors():
    made = speed(study())
    stages = made.of("stage")
    names = ["input pipeline", "library", "compilation", "micro-batches and cores", "dispatch"]
    assert [one.pair.name for one in stages] == names
    assert [one.ratio.value for one in stages] == pytest.approx([8, 0.25, 5, 1.6, 1])
    shares = [math.log(factor) / math.log(16) for factor in (8, 0.25, 5, 1.6, 1)]
    assert [one.share.value for one in stages] == pytest.approx(shares)
    assert all(one.share.interval.low == pytest.approx(one.share.value, abs=1e-9) for one in stages)
    (whole,) = made.of("whole")
    assert whole.ratio.value == pytest.approx(16)
    # Beside the path: torch.compile is PyTorch's best, and 500 ms are traced anew at every step, 400 not.
    fastest, tracing = made.of("beside")
    assert (fastest.other, fastest.ratio.value) == (COMPILE, pytest.approx(800 / 75))
    assert (tracing.other, tracing.ratio.value) == (TRACED, pytest.approx(500 / 400))
    assert fastest.share is None
    long_step, long_epoch = (dataclasses.replace(cell, control="long-epochs") for cell in (STEP, EPOCH))
    dispatch = speed(study(MILLISECONDS | {long_step: 50.0, long_epoch: 40.0})).of("beside")[2]
    assert (dispatch.pair.name, dispatch.ratio.value) == ("dispatch, 391 steps an epoch", pytest.approx(1.25))
    # Another study's factor stands beside this one's; it lacks whole epochs.
    again = study({RECIPE: 800.0, EAGER: 100.0, TRACED: 200.0, JIT: 40.0, STEP: 25.0})
    twice = speed(study(), again).of("stage")
    assert [one.again and one.again.value for one in twice] == [*map(pytest.approx, (8, 0.5, 5, 1.6)), None]
    assert [one.confirmed for one in twice] == [True, False, True, True, False]
    # Without JAX's operations one by one, library and program cannot be told apart.
    for lost in (TRACED, JIT):
        assert speed([r for r in study() if r.cell != lost]).of("stage", "whole") == []


def test_shares_add_to_one_whatever_the_scatter_and_may_be_negative_or_above_1():
    times = {
        RECIPE: (90, 100, 110),
        EAGER: (50, 52, 49),
        TRACED: (300, 290, 310),
        JIT: (24, 26, 25),
        STEP: (20, 25, 21),
        EPOCH: (30, 26, 31),
    }
    made = speed(scattered(times))
    stages, (whole,) = made.of("stage"), made.of("whole")
    shares = [one.share for one in stages]
    assert sum(share.value for share in shares) == pytest.approx(1)
    assert shares[4].value == pytest.approx(math.log(21 / 30) / math.log(100 / 30))
    assert math.prod(one.ratio.value for one in stages) == pytest.approx(whole.ratio.value)
    assert shares[1].value < 0
    assert shares[2].value > 1
    assert all(share.interval.low < share.value < share.interval.high for share in shares)
    # Dispatch's interval includes 1: neither said nor drawn to slow down.
    assert stages[4].ratio.direction == 0


def test_an_undecided_whole_has_no_shares():
    times = {
        RECIPE: (90, 60, 70),
        EAGER: (50, 52, 49),
        TRACED: (300, 290, 310),
        JIT: (80, 75, 85),
        STEP: (60, 80, 70),
        EPOCH: (60, 90, 70),
    }
    records = scattered(times)
    made = speed(records)
    assert made.of("whole")[0].ratio.direction == 0
    assert [one.share for one in made.of("stage")] == [None] * 5
    # One repeat has shares, without intervals.
    alone = speed([r for r in records if r.repeat == 0]).of("stage")
    assert all(one.share and one.share.interval is None for one in alone)


# The best of each framework.


def test_the_best_is_so_by_its_median():
    """A burst in one process decides nothing."""
    records = scattered({STEP: (10, 10, 1000), EPOCH: (20, 20, 20)})
    assert best(to_frame(records), STEP, "jax") == STEP


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
    made = speed(study(MILLISECONDS | {cell: 1.0}))
    (verdict,) = made.of("best")
    assert (cell in (verdict.cell, verdict.other)) is counts


@pytest.mark.parametrize(("epoch", "direction"), [((50, 51, 49), -1), ((160, 161, 159), 1), ((50, 120, 90), 0)])
def test_the_verdict_follows_the_interval(epoch, direction):
    ((verdict, again),) = speed(scattered({EAGER: (80, 81, 79), EPOCH: epoch})).verdicts
    assert (verdict.ratio.direction, again) == (direction, None)


def test_a_verdict_is_held_against_the_other_studys_own_best():
    records = study({COMPILE: 75.0, STEP: 50.0, EAGER: 100.0})
    ((ours, theirs),) = speed(records, study({COMPILE: 75.0, STEP: 60.0, LAST: 20.0})).verdicts
    assert (ours.ratio.value, theirs.ratio.value) == (pytest.approx(50 / 75), pytest.approx(3.0))
    assert theirs.other == LAST
    ((_, nothing),) = speed(records, study({EAGER: 1.0})).verdicts
    assert nothing is None


def test_compiling_has_to_beat_pytorch_eager_at_its_best():
    """Of 40 ms in another layout, not of 100. Between the models, in one layout."""
    made = speed(synthetic.both_models() + study({LAST: 40.0}))
    steps = {one.cell: one.steps[0] for one in made.break_evens}
    assert math.isinf(steps[STEP])
    assert math.isfinite(steps[dataclasses.replace(STEP, model="vit")])
    # 400 / 66.7 times as fast for the ViT; 100 / 50 for the CNN.
    (step,) = [one for one in made.of("interaction") if STEP in one.pair.above]
    assert step.ratio.value == pytest.approx((400 / (200 / 3)) / (100 / 50))


@pytest.mark.parametrize("vit", [3.0, 0.5])
def test_interaction_is_a_ratio_of_speed_ups(vit):
    found = speed(synthetic.both_models(vit)).of("interaction")
    (step,) = [one for one in found if STEP in one.pair.above]
    assert step.ratio.value == pytest.approx(vit)
    assert step.ratio.direction == (1 if vit > 1 else -1)
    assert all(cell.on_device for one in found for cell in (*one.pair.above, *one.pair.below))


def test_controls_are_held_against_the_same_cell_without():
    vit, vit_step = (dataclasses.replace(cell, model="vit") for cell in (EAGER, STEP))
    bare, bare_step = (dataclasses.replace(cell, control="no-dropout") for cell in (vit, vit_step))
    made = speed([*study(), *study({vit: 400.0, vit_step: 200.0, bare: 250.0, bare_step: 225.0, LAST: 40.0})])
    found = {one.cell: (one.other, one.ratio.value) for one in made.of("control")}
    assert found == {
        bare: (vit, pytest.approx(0.625)),
        bare_step: (vit_step, pytest.approx(1.125)),
        LAST: (EAGER, pytest.approx(0.4)),
    }
    assert made.ratios["over_eager"][bare_step].value == pytest.approx(0.9)
    assert bare_step not in made.ratios["over_best"]
    without = speed([*study(), *study({vit: 400.0, vit_step: 200.0, LAST: 40.0})])
    kinds = ("over the best", "stage", "whole", "best", "interaction")
    assert [(one.pair, one.ratio) for one in made.of(*kinds)] == [(one.pair, one.ratio) for one in without.of(*kinds)]


# What is paid once, and what a step costs whatever its batch.


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
    found = {one.cell: one for one in speed(study(repeats=1)).break_evens}
    assert set(found) == {COMPILE, JIT, STEP, Cell("cnn", "chunk"), EPOCH}
    assert (found[STEP].steps[0], found[STEP].seconds[0]) == (pytest.approx(116), pytest.approx(6 + 116 * 0.05))
    # Every repeat crosses, but not by more than chance.
    (level,) = speed(scattered({EAGER: (100, 100, 100), STEP: (99, 80, 60)})).break_evens
    assert level.steps == pytest.approx([290, 5800, 290, 145])
    assert level.over.direction == 0


def test_a_planted_fixed_cost_is_found():
    frame = to_frame(sweep())
    ((_, cells),) = swept(frame).items()
    fit = fixed_cost(frame, cells)
    # 10 ms + 0.1 ms an image: half of a step of 100 images.
    assert (fit.batch_sizes, fit.half_size.mean) == ((32, 128, 512), pytest.approx(100))
    assert (fit.fixed_s.mean, fit.image_s.mean) == (pytest.approx(0.01, rel=0.02), pytest.approx(1e-4, rel=0.02))
    assert fit.half_size.interval.high == pytest.approx(100)
    assert fit.max_residual < 1e-9
    assert fixed_cost(frame, cells[:2]) is None
    # Time that falls with the batch, or grows faster than it, bends no term below 0.
    falling = {Cell("cnn", "step", batch_size=size): (ms,) for size, ms in ((32, 9.0), (128, 8.0), (512, 7.0))}
    assert fixed_cost(to_frame(scattered(falling)), list(falling)).half_size.mean == math.inf
    steep = {Cell("cnn", "step", batch_size=size): (ms,) for size, ms in ((32, 1.0), (128, 10.0), (512, 100.0))}
    fit = fixed_cost(to_frame(scattered(steep)), list(steep))
    assert fit.fixed_s.mean == 0
    assert fit.max_residual > 0.3


def test_the_fit_is_to_relative_errors():
    # A third point 10 % off the line through the others: the fit is no farther than that from any.
    points = ((32, 13.2), (128, 22.8), (512, 61.2 * 1.1))
    bent = {Cell("cnn", "step", batch_size=size): (ms,) for size, ms in points}
    fit = fixed_cost(to_frame(scattered(bent)), list(bent))
    sizes, times = (np.array(column) for column in zip(*points, strict=True))
    slope, fixed = np.polyfit(sizes, times, 1, w=1 / times)
    assert (fit.fixed_s.mean, fit.image_s.mean) == (pytest.approx(fixed / 1e3), pytest.approx(slope / 1e3))
    assert fit.max_residual == pytest.approx(np.abs((fixed + slope * sizes) / times - 1).max())
    assert fit.half_size.interval is None


def test_all_roofs_of_a_precision_are_one():
    roofs = common_roofs(to_frame(study()), "float32")
    assert (roofs.flops_per_s, roofs.bytes_per_s, roofs.ridge) == (3e11, 2e10, 15.0)
    # The fastest product was measured beside cells that the table and the figure do not show.
    fast = [dataclasses.replace(r, ceiling_flops_per_s=6e11) for r in sweep(sizes=(32, 512))]
    assert common_roofs(to_frame([*study({EAGER: 100.0, STEP: 50.0}), *fast]), "float32").flops_per_s == 6e11


def test_the_summary_holds_the_numbers():
    records = [*synthetic.both_models(), failed(Cell("cnn", "cudagraphs"), "no GPU")]
    summary = speed(records).summary()
    json.dumps(summary, allow_nan=False)
    step = [one for one in summary["contrasts"] if (one["kind"], one["above"]) == ("over eager", [STEP.title])]
    assert [one["ratio"] for one in step] == pytest.approx([0.5, 1 / 6])
    assert step[0]["ratio_interval"] == pytest.approx([0.5, 0.5])
    stages = [one for one in summary["contrasts"] if (one["kind"], one["model"]) == ("stage", "cnn")]
    assert stages[0]["share"] == pytest.approx(0.75)
    assert {"model": "cnn", "cell": STEP.title, "steps": pytest.approx(116), "decided": True} in summary["break_even"]
    assert summary["not_measured"] == [{"model": "cnn", "cell": Cell("cnn", "cudagraphs").title, "message": "no GPU"}]
    never = speed(study({EAGER: 10.0, STEP: 20.0})).summary()
    assert never["break_even"] == [{"model": "cnn", "cell": STEP.title, "steps": None, "decided": True}]
    assert speed(sweep()).summary()["half_fixed_batch_size"][0]["size"] == pytest.approx(100)
    assert speed(study(), study()).summary()["repeated"]["confirmed"] == 78
