"""What is compared: stages with their shares, the best of each framework, controls, break-even, fixed costs."""

import dataclasses
import json
import math

import numpy as np
import pytest
import synthetic_speed as synthetic
from synthetic_speed import (
    COMPILE,
    EAGER,
    EPOCH,
    JIT,
    LAST,
    MILLISECONDS,
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
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.roofline import common_roofs
from jaxcompare.analysis.speed import best
from jaxcompare.cell_frame import to_frame
from jaxcompare.cells import Cell

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
    step, epoch = (dataclasses.replace(cell, control="long-epochs") for cell in (STEP, EPOCH))
    dispatch = speed(study(MILLISECONDS | {step: 50.0, epoch: 40.0})).of("beside")[2]
    assert (dispatch.pair.name, dispatch.ratio.value) == ("dispatch, 391 steps an epoch", pytest.approx(1.25))
    products = dataclasses.replace(STEP, options=("im2col",))  # in place of Winograd's: they stand between
    factors = {one.pair.name: one.ratio.value for one in speed(study(MILLISECONDS | {products: 64.0})).of("stage")[3:5]}
    assert factors == {"micro-batches and cores": pytest.approx(80 / 64), "Winograd": pytest.approx(64 / 50)}
    # Another study's factor stands beside this one's; it lacks whole epochs.
    again = study({RECIPE: 800.0, EAGER: 100.0, TRACED: 200.0, JIT: 40.0, STEP: 25.0})
    twice = speed(study(), again).of("stage")
    assert [one.again and one.again.value for one in twice] == [*map(pytest.approx, (8, 0.5, 5, 1.6)), None]
    assert [one.confirmed for one in twice] == [True, False, True, True, False]
    assert all(speed([r for r in study() if r.cell != lost]).of("stage", "whole") == [] for lost in (TRACED, JIT))


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
        (Cell("cnn", "compile", options=("channels-last",)), True),
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


def test_the_ratio_without_options_stands_beside_that_of_the_tuned():
    tuned = dataclasses.replace(EPOCH, options=("slices-16",))
    made = speed(study(MILLISECONDS | {tuned: 10.0, LAST: 20.0}))
    assert [(one.cell, one.other) for one in made.of("best")] == [(tuned, LAST)]
    (plain,) = made.of("plain")
    assert (plain.cell.options, plain.other) == ((), EAGER)
    assert speed(study()).of("plain") == []


def test_like_is_held_against_like():
    """Where both frameworks make their batches in the step, what was prepared before is no candidate."""
    resident, compiled = EAGER.resident, COMPILE.resident
    made = speed(study(MILLISECONDS | {resident: 120.0, compiled: 90.0, Cell("cnn", "step", "arrays"): 1.0}))
    (verdict,) = made.of("best")
    assert (verdict.cell.input, verdict.other) == ("resident", compiled)
    over = {one.cell: one.other for one in made.of("over eager")}
    assert (over[STEP], over[compiled], over[COMPILE], over[JIT]) == (resident, resident, EAGER, EAGER)
    # Of the attribution, a stage changes one thing.
    assert made.of("stage")[0].other == EAGER
    assert {one.cell for one in made.break_evens} >= {compiled, JIT}
    assert COMPILE not in {one.cell for one in made.break_evens}
    assert {one.eager for one in made.break_evens} == {resident}


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


def test_without_dropout_the_best_of_each_are_compared():
    """Options included."""
    eager, step = (dataclasses.replace(cell, model="vit", control="no-dropout") for cell in (EAGER, STEP))
    best = dataclasses.replace(eager, options=("sdpa",))
    (one,) = speed(study({eager: 300.0, best: 250.0, step: 225.0})).of("without dropout")
    assert (one.cell, one.other, one.ratio.value) == (step, best, pytest.approx(0.9))


def test_controls_are_held_against_the_same_cell_without():
    vit, vit_step = (dataclasses.replace(cell, model="vit") for cell in (EAGER, STEP))
    bare, bare_step = (dataclasses.replace(cell, control="no-dropout") for cell in (vit, vit_step))
    made = speed([*study(), *study({vit: 400.0, vit_step: 200.0, bare: 250.0, bare_step: 225.0, LAST: 40.0})])
    found = {one.cell: (one.other, one.ratio.value) for one in made.of("change")}
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
    records = [*synthetic.both_models(), failed(synthetic.GRAPHS, "no GPU")]
    summary = speed(records).summary()
    json.dumps(summary, allow_nan=False)
    step = [one for one in summary["contrasts"] if (one["kind"], one["above"]) == ("over eager", [STEP.title])]
    assert [one["ratio"] for one in step] == pytest.approx([0.5, 1 / 6])
    assert step[0]["ratio_interval"] == pytest.approx([0.5, 0.5])
    stages = [one for one in summary["contrasts"] if (one["kind"], one["model"]) == ("stage", "cnn")]
    assert stages[0]["share"] == pytest.approx(0.75)
    assert {"model": "cnn", "cell": STEP.title, "steps": pytest.approx(116), "decided": True} in summary["break_even"]
    assert summary["not_measured"] == [{"model": "cnn", "cell": synthetic.GRAPHS.title, "message": "no GPU"}]
    never = speed(study({EAGER: 10.0, STEP: 20.0})).summary()
    assert never["break_even"] == [{"model": "cnn", "cell": STEP.title, "steps": None, "decided": True}]
    assert speed(sweep()).summary()["half_fixed_batch_size"][0]["size"] == pytest.approx(100)
    assert speed(study(), study()).summary()["repeated"]["confirmed"] == 78
