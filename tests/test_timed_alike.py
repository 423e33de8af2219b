"""Which runs' times may stand beside each other."""

import dataclasses
import math

import pytest
import synthetic
from synthetic import on_another, runs_of

from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.outcome import by_model, find_outcome
from jaxcompare.config import ExecutionConfig
from jaxcompare.records import History
from jaxcompare.run_frame import to_frame


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
        "processes": {"execution": run.execution | {"processes": 2}},
        "jax": {"environment": environment | {"versions": environment["versions"] | {"jax": "other"}}},
        "git_commit": {"git_commit": "other"},
    }
    return dataclasses.replace(run, **changes.get(name, {"environment": environment | {name: "another"}}))


@pytest.mark.parametrize(
    "name", ["engine", "shared_by", "devices", "processes", "cpu", "cpu_cores", "device", "jax", "git_commit"]
)
def test_times_are_compared_only_if_measured_alike(name):
    first, *others = synthetic.comparison()
    assert faster([elsewhere(first, name), *others]) is None


@pytest.mark.parametrize(
    ("resumed", "expected"),
    [
        ([(1, 2)], [2.0, 4.0, 6.0]),
        ([(1, 4)], [2.0, None, None]),
        ([(1, 4), (2, 2)], [2.0, None, 6.0]),
        ([(0, 4)], [None, None, None]),
    ],
)
def test_epochs_on_other_devices_than_a_run_began_on_have_no_time(resumed, expected):
    went_on = [{"after_epoch": after, "devices": devices} for after, devices in resumed]
    history = History(*([1.0] * 3 for _ in range(3)), [2.0, 4.0, 6.0], *([0.0] * 3 for _ in range(3)))
    run = dataclasses.replace(synthetic.comparison()[0], history=history, execution={"devices": 2, "resumed": went_on})
    times = to_frame([run]).epoch_time_s
    assert [None if math.isnan(time) else time for time in times] == expected


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


@pytest.mark.parametrize(("shown", "cpu"), [(None, "another"), (1000, "CPU")])
def test_an_epoch_of_more_images_is_no_slower_machine(shown, cpu):
    """Nor one of fewer that shows them more often."""

    def runs(size, time_s):
        found = [synthetic.run(model, size, 0, 0.5, time_s=time_s) for model in ("cnn", "vit")]
        return [dataclasses.replace(r, config=dataclasses.replace(r.config, epoch_images=shown)) for r in found]

    timed = timed_alike(runs_of([*runs(100, 2.0), *map(on_another, runs(1000, 9.0))]))
    assert set(timed.cpu) == {cpu}


def test_times_are_of_the_machine_with_most_sizes_of_both_models():
    both = synthetic.sweep({100: 0.5, 1000: 0.5}, {100: 0.4, 1000: 0.4}, seeds=2)
    quicker = [
        dataclasses.replace(on_another(run), history=dataclasses.replace(run.history, epoch_time_s=[0.001] * 2))
        for run in both
    ]
    one_size = [quick if run.train_images == 100 else run for run, quick in zip(both, quicker, strict=True)]
    more = synthetic.sweep({2000: 0.5}, {2000: 0.4}, seeds=2)
    assert set(timed_alike(runs_of([*one_size, *more])).cpu) == {"CPU"}
    # At 100 images the CNN alone, at 1,000 the ViT.
    apart = [q for q in quicker if (q.config.model == "cnn") == (q.train_images == 100)]
    assert set(timed_alike(runs_of([*apart, *more])).cpu) == {"CPU"}
    assert timed_alike(runs_of(apart)).empty


def test_compilation_is_of_the_machine_whose_epochs_are_the_quickest():
    quick, slow = synthetic.comparison(), [on_another(run) for run in synthetic.comparison(cnn_time_s=11.0)]
    warm = [
        dataclasses.replace(run, compile_times={"step": run.compile_times["train_step"] | {"compile_s": 0.0}})
        for run in slow
    ]
    assert set(timed_alike(runs_of([*warm, *quick]), "compile_time_s").cpu) == {"CPU"}


def test_a_machine_without_times_of_epochs_is_not_the_quickest():
    quick = synthetic.comparison()
    busy = dataclasses.replace(quick[0].history, others_share=[0.5] * 2)
    untimed = [on_another(dataclasses.replace(run, history=busy)) for run in quick]
    assert set(timed_alike(runs_of([*untimed, *quick]), "compile_time_s").cpu) == {"CPU"}


def test_each_model_counts_once_however_many_its_runs():
    here = synthetic.comparison()
    there = [*synthetic.comparison(seeds=3, cnn_time_s=12.0)[:3], *synthetic.comparison()[1:]]
    assert set(timed_alike(runs_of([*here, *map(on_another, there)])).cpu) == {"CPU"}
