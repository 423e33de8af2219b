"""Records survive a round trip, replace their own earlier state, and are refused when they are not whole."""

import dataclasses
import json
import math
import re
import subprocess
from pathlib import Path

import pytest

import training_runs
from jaxcompare.analysis.comparison import check_comparable, check_one_recipe
from jaxcompare.analysis.data_efficiency import build_sweep
from jaxcompare.cell_records import load_cells, save_cells
from jaxcompare.config import DataConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.lines import TruncatedLine, write_atomically
from jaxcompare.measure.environment import find_commit
from jaxcompare.records import History, Prediction, RunRecord, find_complete, load_records, save_records


def record(model="cnn", status="complete", losses=(2.0, 1.5), **kwargs):
    n = len(losses)
    fields = {
        "config": RunConfig("jax", model, DataConfig("digits", Path("/secret/place")), TrainingConfig()),
        "params": 620_362,
        "dataset_title": "digits",
        "data_fingerprint": "abc",
        "train_images": 100,
        "test_images": 10,
        "num_classes": 10,
        "history": History(list(losses), [0.3] * n, [0.4, 0.5][:n], [2.0, 4.0][:n], [0.1] * n, [0.0] * n),
        "compile_times": {"train_step": {"trace_s": 1.0, "lower_s": 0.5, "compile_s": 2.0, "from_cache": False}},
        "execution": {"engine": "step"},
        "environment": {
            "versions": {"jax": "0.10.2", "flax": "0.12", "torch": "2.15"},
            "cpu": "CPU",
            "cpu_cores": 2,
            "backend": "cpu",
            "device": "cpu",
        },
        "git_commit": None,
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(status=status, **fields | kwargs)


def short(model="cnn", **kwargs):
    """A run of two epochs, whole by its own config."""
    config = dataclasses.replace(record(model).config, training=TrainingConfig(epochs=2))
    return record(model, **{"config": config} | kwargs)


def test_round_trip_without_the_place_of_the_data(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    save_records(path, [short()])
    (loaded,) = load_records(path)
    assert loaded == short()  # the data's place is no part of a config's identity
    assert "secret" not in path.read_text()
    assert loaded.best_test_accuracy == 0.5
    assert loaded.epoch_time_s == 3.0
    assert loaded.compile_time_s == 3.5


def test_nan_is_null_in_the_file_and_nan_again_in_memory(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short(status="diverged", losses=(2.0, math.nan))])
    assert json.loads(path.read_text())["history"]["train_loss"] == [2.0, None]
    assert math.isnan(load_records(path)[0].history.train_loss[1])


def test_a_run_replaces_its_own_earlier_state_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short(status="running", losses=(2.0,))])
    save_records(path, [short("vit")])
    save_records(path, [short()])
    save_records(path, [short(data_fingerprint="other images")])
    assert [(r.config.model, r.status) for r in load_records(path)] == [("vit", "complete")] + [("cnn", "complete")] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r | {"schema": 99}, r"not a run record of schema 3 \(schema holds 99"),
        (lambda r: r | {"schema": 2}, "schema holds 2"),
        (lambda r: r | {"prediction": {"faster": "cnn"}}, "prediction.more_accurate: Field required"),
        (
            lambda r: r | {"prediction": {"faster": "x", "more_accurate": "cnn", "gap_points": 1, "reasoning": ""}},
            "prediction.faster holds 'x'",
        ),
        (lambda r: r | {"experiment": "mine"}, "experiment holds 'mine'"),
        (lambda r: r | {"config": r["config"] | {"model": "mlp"}}, "config.model holds 'mlp'"),
        (lambda r: r | {"environment": {}}, "environment lacks"),
        (lambda r: r | {"history": r["history"] | {"train_loss": ["a", 1.0]}}, r"history.train_loss.0 holds 'a'"),
        (lambda r: r | {"surprise": 1}, "surprise"),
        (lambda r: {k: v for k, v in r.items() if k != "params"}, "params"),
        (lambda r: r | {"status": "fine"}, "status holds 'fine'"),
        (lambda r: r | {"config": r["config"] | {"training": {"epochs": 3}}}, "config.training.batch_size is missing"),
        (lambda r: r | {"history": r["history"] | {"train_loss": [1.0]}}, "different lengths"),
    ],
)
def test_what_is_not_a_record_is_refused_with_its_line(tmp_path, change, message):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short()])
    good = path.read_text()
    path.write_text(good + json.dumps(change(json.loads(good))) + "\n")
    with pytest.raises(InputError, match=rf"runs.jsonl, line 2: .*{message}"):
        load_records(path)


def number(*place, value):
    """A change of a record's number at a path of keys."""

    def change(values):
        here = values
        for key in place[:-1]:
            here = here[key]
        here[place[-1]] = value
        return values

    return change


IMPOSSIBLE_RUNS = {
    "an accuracy in per cent": (
        number("history", "test_accuracy", 1, value=7.61),
        "history.test_accuracy.1 holds 7.61",
    ),
    "a training accuracy in per cent": (
        number("history", "train_accuracy", 1, value=30.1),
        "history.train_accuracy.1 holds 30.1",
    ),
    "a negative accuracy": (number("history", "train_accuracy", 0, value=-0.1), "history.train_accuracy.0 holds -0.1"),
    "no accuracy": (number("history", "test_accuracy", 0, value=None), "history.test_accuracy.0 holds None"),
    "no time": (number("history", "epoch_time_s", 0, value=0), "history.epoch_time_s.0 holds 0"),
    "a missing time": (number("history", "epoch_time_s", 0, value=None), "history.epoch_time_s.0 holds None"),
    "a negative evaluation": (number("history", "evaluation_time_s", 0, value=-1), "history.evaluation_time_s.0 holds"),
    "a negative wait": (number("history", "input_wait_s", 0, value=-1), "history.input_wait_s.0 holds -1"),
    "a negative loss": (number("history", "train_loss", 1, value=-2.0), "history.train_loss.1 holds -2.0"),
    "a loss that is missing": (number("history", "train_loss", 1, value=None), "history.train_loss holds null"),
    "fewer epochs": (number("config", "training", "epochs", value=3), "history has 2 epochs of 3"),
    "more epochs": (number("config", "training", "epochs", value=1), "history has 2 epochs of 1"),
    "no parameters": (number("params", value=0), "params holds 0"),
    "a size as text": (number("params", value="many"), "params holds 'many'"),
    "another size": (
        number("config", "data", "train_size", value=99),
        "train_images is 100, config.data.train_size 99",
    ),
    "no training images": (number("train_images", value=0), "train_images holds 0"),
    "no test images": (number("test_images", value=0), "test_images holds 0"),
    "one class": (number("num_classes", value=1), "num_classes holds 1"),
    "a negative compilation": (
        number("compile_times", "train_step", "lower_s", value=-1),
        "compile_times.train_step.lower_s holds -1",
    ),
    "a prediction of 300 points": (
        lambda r: r | {"prediction": {"faster": "cnn", "more_accurate": "cnn", "gap_points": 300.0, "reasoning": ""}},
        "gap_points holds 300.0",
    ),
}


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE_RUNS.values(), ids=IMPOSSIBLE_RUNS)
def test_a_number_that_a_run_cannot_have_is_refused_where_it_is_read(tmp_path, change, message):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short()])
    good = path.read_text()
    path.write_text(good + json.dumps(change(json.loads(good))) + "\n")
    with pytest.raises(InputError, match=rf"runs.jsonl, line 2: .*{re.escape(message)}") as refused:
        load_records(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "run",
    [
        short(status="diverged", losses=(2.0, math.nan)),
        short(status="running", losses=(2.0,)),
        short(status="interrupted", losses=()),
        short(history=History([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1e-9, 1.0], [0.0, 0.0], [math.nan, 0.0])),
        short(status="running", losses=(2.0,), config=record().config),
    ],
)
def test_numbers_at_the_end_of_their_range_are_read(run, tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [run])
    assert repr(load_records(path)[0].history) == repr(run.history)


IMPOSSIBLE_CELLS = {
    "no time": (number("epoch_time_s", 0, value=0.0), "epoch_time_s.0 holds 0.0"),
    "a negative warm-up": (number("warm_up_time_s", 0, value=-1.0), "warm_up_time_s.0 holds -1.0"),
    "a negative first step": (number("first_step_time_s", 0, value=-1.0), "first_step_time_s.0 holds -1.0"),
    "a negative wait": (number("input_wait_s", 0, value=-1.0), "input_wait_s.0 holds -1.0"),
    "negative page faults": (number("page_faults", 1, value=-7), "page_faults.1 holds -7"),
    "a negative parity": (number("parity", "losses", value=-1e-5), "parity.losses holds -1e-05"),
    "no parity": (number("parity", "logits", value=math.nan), "parity.logits holds nan"),
    "a missing parity": (number("parity", "logits", value=None), "parity.logits holds None"),
    "an infinite parity": (number("parity", "gradients", value=math.inf), "parity.gradients holds inf"),
    "no training images": (number("train_images", value=0), "train_images holds 0"),
    "no epochs": (number("epochs", value=0), "epochs holds 0"),
    "one class": (number("num_classes", value=1), "num_classes holds 1"),
    "no seeds": (number("cell", "seeds", value=0), "cell.seeds holds 0"),
    "no batch": (number("cell", "batch_size", value=0), "cell.batch_size holds 0"),
    "a negative number of programs": (number("programs", value=-1), "programs holds -1"),
    "a negative compilation": (
        number("compile_times", value={"train_step": {"trace_s": -1.0}}),
        "compile_times.train_step.trace_s holds -1.0",
    ),
    "a negative warm compilation": (
        number("warm_compile_times", value={"first step": {"step_s": -1.0}}),
        "warm_compile_times.first step.step_s holds -1.0",
    ),
    "another number of images an epoch": (number("epoch_images", value=5120), "epoch_images is 5120, 1536 are shown"),
    "no images an epoch": (number("epoch_images", value=0), "epoch_images holds 0"),
    "negative memory": (number("memory", "process", value=-5), "memory.process holds -5"),
    "no ceiling": (number("ceiling_flops_per_s", value=0.0), "ceiling_flops_per_s holds 0.0"),
    "no bandwidth": (number("copy_bytes_per_s", value=math.inf), "copy_bytes_per_s holds inf"),
}


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE_CELLS.values(), ids=IMPOSSIBLE_CELLS)
def test_a_number_that_a_cell_cannot_have_is_refused_where_it_is_read(tmp_path, change, message):
    import synthetic_speed

    path = tmp_path / "cells.jsonl"
    save_cells(path, [synthetic_speed.timed(synthetic_speed.RECIPE, 800.0)])
    good = path.read_text()
    path.write_text(good + json.dumps(change(json.loads(good))) + "\n")
    with pytest.raises(InputError, match=rf"cells.jsonl, line 2: .*{re.escape(message)}"):
        load_cells(path)


def test_a_cell_that_was_not_timed_needs_no_numbers(tmp_path):
    import synthetic_speed

    empty = {"epoch_time_s": [], "warm_up_time_s": [], "parity": {}, "ceiling_flops_per_s": 0.0}
    refused = synthetic_speed.timed(synthetic_speed.RECIPE, 800.0, message="out of memory")
    path = tmp_path / "cells.jsonl"
    save_cells(path, [dataclasses.replace(refused, **empty)])
    assert load_cells(path)[0].message == "out of memory"


def test_a_missing_file_and_a_damaged_line_are_input_errors(tmp_path):
    path = tmp_path / "runs.jsonl"
    with pytest.raises(InputError, match="cannot be read"):
        load_records(path)
    save_records(path, [short(), short("vit")])
    path.write_text(path.read_text().replace('"schema"', "", 1))
    with pytest.raises(InputError, match="line 1: not a run record"):
        load_records(path)


def test_a_last_line_that_was_cut_off_is_passed_over_with_a_warning(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short(), short("vit")])
    text = path.read_text()
    path.write_text(text[:-30])
    with pytest.warns(TruncatedLine, match=r"runs.jsonl, line 2: cut off"):
        assert load_records(path) == [short()]
    path.write_text(text[:-1])  # the line's end alone is missing: nothing is lost
    assert load_records(path) == [short(), short("vit")]


def test_a_prediction_survives_a_round_trip(tmp_path):
    path = tmp_path / "runs.jsonl"
    predicted = short(prediction=Prediction("vit", "cnn", 3.5, "because"), experiment="full_comparison")
    save_records(path, [predicted])
    assert load_records(path) == [predicted]


def test_a_run_is_found_for_its_own_experiment_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [short(experiment="full_comparison")])
    assert find_complete(path, "full_comparison", short().config, "abc")
    assert not find_complete(path, "data_efficiency", short().config, "abc")
    save_records(path, [short(experiment="data_efficiency")])
    assert len(load_records(path)) == 2


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "runs.jsonl"
    write_atomically(path, "old\n")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainingConfig(epochs=0), "--epochs: must be a finite number of at least 1, not 0"),
        (lambda: TrainingConfig(batch_size=-1), "--batch-size"),
        (lambda: TrainingConfig(seed=2**32), "--seed: must be between 0 and 4294967295"),
        (lambda: TrainingConfig(lr=math.nan), "--lr"),
        (lambda: TrainingConfig(lr=math.inf), "--lr"),
        (lambda: DataConfig(train_size=0), "--train-size"),
        (lambda: DataConfig(image_size=30), "--image-size: must be a multiple of 4"),
        (lambda: DataConfig(workers=-1), "--workers"),
        (lambda: DataConfig("imagenet"), "--dataset: 'imagenet' is unknown; choose one of cifar10"),
    ],
)
def test_bad_values_name_their_flag(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_configs_are_hashable_and_frozen():
    assert len({short().config, short().config, short("vit").config}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        short().config.model = "vit"


# Across records: what cannot stand side by side.

ONE, OTHER = "1" * 40, "2" * 40


def test_runs_of_different_commits_are_no_comparison_and_no_sweep():
    import synthetic

    for check, runs in (
        (check_comparable, synthetic.comparison(git_commit=ONE)),
        (build_sweep, synthetic.sweep({100: 0.5, 200: 0.6}, {100: 0.4, 200: 0.5}, seeds=2, git_commit=ONE)),
    ):
        check(synthetic.runs_of(runs))
        mixed = synthetic.runs_of([*runs[:-1], dataclasses.replace(runs[-1], git_commit=OTHER)])
        with pytest.raises(InputError, match=f"runs of different commits: {ONE} and {OTHER}") as refused:
            check(mixed)
        assert "\n" not in str(refused.value)
        check_one_recipe(mixed, "train_size")  # of two experiments, and of the two frameworks' agreement


@pytest.mark.parametrize("name", ["train_images", "test_images", "num_classes"])
def test_runs_on_other_numbers_of_images_are_no_comparison(name):
    import synthetic

    one, other = synthetic.comparison()
    other = dataclasses.replace(other, **{name: 60_000})
    with pytest.raises(InputError, match=f"{name} is {getattr(one, name)} in one, 60000 in another"):
        check_comparable(synthetic.runs_of([one, other]))
    if name == "train_images":
        check_one_recipe(synthetic.runs_of([one, other]), "train_size")
    else:
        with pytest.raises(InputError, match=name):
            check_one_recipe(synthetic.runs_of([one, other]), "train_size")


def test_nothing_is_trained_beside_complete_runs_of_another_commit(tmp_path, monkeypatch):
    from rich.console import Console

    path, fitted = tmp_path / "runs.jsonl", []
    cnn, vit = (short(model, experiment="full_comparison", git_commit=ONE) for model in ("cnn", "vit"))
    save_records(path, [cnn, dataclasses.replace(vit, status="interrupted")])
    monkeypatch.setattr("jaxcompare.training.fit.fit_seeds", lambda *_, **__: fitted.append("trained"))

    class Images:
        fingerprint, train = "abc", range(100)

    def train(run):
        keep = training_runs.Keep()
        return training_runs.train(Console(quiet=True), "full_comparison", run.config, [42], Images, path, keep)

    monkeypatch.setattr("jaxcompare.measure.environment.git_commit", lambda: OTHER)
    assert train(cnn) == [cnn]  # nothing is missing
    with pytest.raises(InputError, match=f"--out: .*runs.jsonl holds runs of commit {ONE}, this is {OTHER}; give"):
        train(vit)
    assert not fitted
    monkeypatch.setattr("jaxcompare.measure.environment.git_commit", lambda: ONE)
    with pytest.raises(KeyError):
        train(vit)  # the stub leaves no record
    assert fitted == ["trained"]


def test_the_commit_is_of_every_file_of_the_package_and_the_experiments(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *words], cwd=tmp_path, check=True)

    package = tmp_path / "jaxcompare"
    assert find_commit(tmp_path) is None
    for name in ("jaxcompare/training/step.py", "experiments/report.py", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = find_commit(package)
    assert clean
    assert len(clean) == 40
    (tmp_path / "README.md").write_text("2")
    assert find_commit(package) == clean
    for name in ("jaxcompare/training/step.py", "experiments/report.py"):
        (tmp_path / name).write_text("2")
        assert find_commit(package) == f"{clean}+changes"
        (tmp_path / name).write_text("1")
