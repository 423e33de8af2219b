"""Which runs' times may stand beside each other."""

import dataclasses

import pytest
import synthetic
from synthetic import on_another, runs_of

from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.outcome import by_model, find_outcome
from jaxcompare.config import ExecutionConfig


def faster(records):
    return find_outcome(runs_of(records)).faster


def test_the_faster_model_takes_less_time():
    assert faster(synthetic.comparison()) == ("cnn", pytest.approx(5))
    assert faster(synthetic.comparison(cnn_time_s=50.0, vit_time_s=10.0)) == ("vit", pytest.approx(5))
    assert faster(synthetic.comparison(cnn_time_s=50.2)) is None


def elsewhere(run, name):
    """The run with another value in a column that decides its time."""
    environment = run.environment
    changes = {
        "engine": {"config": dataclasses.replace(run.config, execution=ExecutionConfig("step", "device"))},
        "shared_by": {"execution": run.execution | {"seeds": 2}},
        "devices": {"execution": run.execution | {"devices": 2}},
        "jax": {"environment": environment | {"versions": environment["versions"] | {"jax": "other"}}},
        "git_commit": {"git_commit": "other"},
    }
    return dataclasses.replace(run, **changes.get(name, {"environment": environment | {name: "another"}}))


@pytest.mark.parametrize("name", ["engine", "shared_by", "devices", "cpu", "cpu_cores", "device", "jax", "git_commit"])
def test_times_are_compared_only_if_measured_alike(name):
    first, *others = synthetic.comparison()
    assert faster([elsewhere(first, name), *others]) is None


@pytest.mark.parametrize(("there_s", "times", "cpu"), [(9.0, 50 / 9, "another"), (11.0, 5, "CPU")])
def test_times_are_of_the_quickest_machine(there_s, times, cpu):
    """Which has one run of three."""
    here, there = synthetic.comparison(seeds=3), synthetic.comparison(seeds=3, cnn_time_s=there_s)
    several = [on_another(t) if t.config.training.seed == 1 else h for h, t in zip(here, there, strict=True)]
    assert faster(several) == ("cnn", pytest.approx(times))
    assert by_model(runs_of(several)).environment[0]["cpu"] == cpu


def test_times_are_of_a_machine_that_has_both_models():
    runs = synthetic.comparison(seeds=3, vit_time_s=50.0)
    busy = dataclasses.replace(runs[-1].history, others_share=[0.5] * 2)
    # Elsewhere the CNN alone was timed, and quicker; here seed 2 has times of both.
    quick = [on_another(run) for run in synthetic.comparison(seeds=3, cnn_time_s=1.0)[:2]]
    alone = [*quick, runs[2], *(dataclasses.replace(run, history=busy) for run in runs[3:5]), runs[5]]
    assert faster(alone) == ("cnn", pytest.approx(5))


def test_an_epoch_of_more_images_is_no_slower_machine():
    here, there = (
        [synthetic.run(m, n, 0, 0.5, time_s=t) for m in ("cnn", "vit")] for n, t in ((100, 2.0), (1000, 9.0))
    )
    timed = timed_alike(runs_of([*here, *map(on_another, there)]))
    assert set(timed.cpu) == {"another"}


def test_each_model_counts_once_however_many_its_runs():
    here = synthetic.comparison()
    there = [*synthetic.comparison(seeds=3, cnn_time_s=12.0)[:3], *synthetic.comparison()[1:]]
    assert set(timed_alike(runs_of([*here, *map(on_another, there)])).cpu) == {"CPU"}
