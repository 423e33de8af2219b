"""A speed study in a line a model: what it says beside the ratio of the best."""

import dataclasses
from html import unescape

import pytest
from synthetic_speed import COMPILE, EAGER, STEP, speed, study, timed

from jaxcompare.report.html import build_page
from jaxcompare.report.results import Results
from jaxcompare.report.speed_tables import verdict_lines


@pytest.mark.parametrize(
    ("again", "begun", "said"),
    [
        ({COMPILE: 75.0, STEP: 45.0}, "2026-01-03", "faster; later study 0.60 (0.60 to 0.60), faster."),
        ({COMPILE: 75.0, STEP: 90.0}, "2025-12-31", "faster; earlier study 1.20 (1.20 to 1.20), slower."),
        ({EAGER: 1.0}, "2026-01-03", "faster; the later study did not measure it."),
    ],
)
def test_a_verdict_says_what_another_study_found(again, begun, said):
    other = [dataclasses.replace(r, started_at=f"{begun}T00:00:00+00:00") for r in study(again)]
    made = speed(study({COMPILE: 75.0, STEP: 50.0, EAGER: 100.0}), other)
    (line,) = verdict_lines(made)
    assert "0.67 (0.67 to 0.67)" in line
    assert line.endswith(said)
    assert len(line.split()) <= 25
    assert line in unescape(build_page(Results(speed=made), []))


def test_a_verdict_of_what_was_tuned_has_that_without_options_beside_it():
    tuned = dataclasses.replace(EAGER, options=("channels-last", "fused"))
    (line,) = verdict_lines(speed(study({EAGER: 100.0, tuned: 40.0, STEP: 50.0})))
    assert "JAX's best time over PyTorch's best: 1.25" in line
    assert "; without options 0.50." in line
    assert "without options" not in verdict_lines(speed(study({EAGER: 100.0, STEP: 50.0})))[0]
    bare = {dataclasses.replace(cell, control="no-dropout"): 60.0 for cell in (EAGER, STEP)}
    (line,) = verdict_lines(speed(study({EAGER: 100.0, STEP: 50.0} | bare)))
    assert "; without dropout 1.00, undecided" in line


def test_other_work_beside_any_ratio_of_a_verdict_is_said():
    bare = [
        timed(dataclasses.replace(cell, model="vit", control="no-dropout"), ms)
        for cell, ms in ((EAGER, 9.0), (STEP, 8.0))
    ]
    both = [timed(dataclasses.replace(cell, model="vit"), ms) for cell, ms in ((EAGER, 9.0), (STEP, 8.0))]
    busy = [dataclasses.replace(record, others_share=0.34) for record in bare]
    assert ["34 %" in verdict_lines(speed([*both, *some]))[0] for some in (bare, busy)] == [False, True]
