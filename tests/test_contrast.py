"""Ratios and their intervals are what the records say, of one measurement, of two, under another allocator."""

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
    LAST,
    OP,
    RECIPE,
    STEP,
    failed,
    scattered,
    speed,
    study,
    timed,
    under_malloc,
)

from jaxcompare.analysis.contrast import ITSELF, Pair, image_times, ratio
from jaxcompare.analysis.contrast import change as change_between
from jaxcompare.analysis.speed import baseline
from jaxcompare.analysis.statistics import Spread
from jaxcompare.cell_frame import to_csv, to_frame
from jaxcompare.cell_records import load_cells, save_cells
from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.lines import TruncatedLine

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
    # Of one cell alone: what ran in one repeat stays a pair.
    mixed = [r for r in records if r.cell == EAGER] + [r for r in records if r.cell == EPOCH][::-1]
    assert over(mixed, EPOCH) == over(records[::-1], EPOCH) == over(records, EPOCH)


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
    # 3 s of imports and building, then the first step: 0.55 s, or with compilation.
    assert list(frame.startup_s[:2]) == pytest.approx([3 + 5.5 + 0.55, 3 + 6.0])
    assert list(frame.warm_startup_s[:2]) == pytest.approx([3 + 1.1 + 0.55, 3 + 1.5])
    assert frame.page_faults[0] == 7
    assert frame.message[2] == "no"
    assert math.isnan(frame.image_time_s[2])
    header, *rows = to_csv(frame).splitlines()
    assert len(rows) == 3
    assert "cell," not in header
    assert header.startswith("framework,model,engine,input,precision,batch_size,seeds,control,options,repeat,")


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


def test_another_allocators_ratios_stand_beside_the_first_ones():
    slower = [
        timed(cell, ms, i, page_faults=[9_000] * 2) for cell, ms in ((EAGER, 200.0), (STEP, 60.0)) for i in range(5)
    ]
    eager, step = speed(under_malloc(study()), (), [*slower, failed(OP, "no")]).allocated.itertuples()
    assert (eager.cell, eager.here, eager.there, eager.change) == (EAGER, ITSELF, ITSELF, None)
    assert [one.value for one in (step.here, step.there, step.change)] == pytest.approx([0.5, 0.3, 0.6])
    assert (step.faults_here, step.faults_there) == (Spread(7, 7, 7), Spread(9_000, 9_000, 9_000))
    assert len(speed(study()).allocated) == 0
