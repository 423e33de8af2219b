"""Records survive a round trip, replace their own earlier state, and are refused when they are not whole."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from jaxcompare.config import DataConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.records import (
    History,
    Prediction,
    RunRecord,
    TruncatedLine,
    find_complete,
    load_records,
    save_records,
    write_atomically,
)


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


def test_round_trip_without_the_place_of_the_data(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    save_records(path, [record()])
    (loaded,) = load_records(path)
    assert loaded == record()  # the data's place is no part of a config's identity
    assert "secret" not in path.read_text()
    assert loaded.best_test_accuracy == 0.5
    assert loaded.epoch_time_s == 3.0
    assert loaded.compile_time_s == 3.5


def test_nan_is_null_in_the_file_and_nan_again_in_memory(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [record(status="diverged", losses=(2.0, math.nan))])
    assert json.loads(path.read_text())["history"]["train_loss"] == [2.0, None]
    assert math.isnan(load_records(path)[0].history.train_loss[1])


def test_a_run_replaces_its_own_earlier_state_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [record(status="running", losses=(2.0,))])
    save_records(path, [record("vit")])
    save_records(path, [record()])
    save_records(path, [record(data_fingerprint="other images")])
    assert [(r.config.model, r.status) for r in load_records(path)] == [("vit", "complete")] + [("cnn", "complete")] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r | {"schema": 99}, "its schema is 99 of a newer version; update jaxcompare"),
        (lambda r: r | {"schema": 2}, r"its schema is 2\)"),
        (lambda r: r | {"prediction": {"faster": "cnn"}}, "Prediction lacks"),
        (
            lambda r: r | {"prediction": {"faster": "x", "more_accurate": "cnn", "gap_points": 1, "reasoning": ""}},
            "'x' is unknown",
        ),
        (lambda r: r | {"experiment": "mine"}, "experiment: 'mine' is unknown"),
        (lambda r: r | {"config": r["config"] | {"model": "mlp"}}, "model: 'mlp' is unknown"),
        (lambda r: r | {"environment": {}}, "environment lacks"),
        (lambda r: r | {"history": r["history"] | {"train_loss": ["a", 1.0]}}, "holds what is no number"),
        (lambda r: r | {"surprise": 1}, "surprise"),
        (lambda r: {k: v for k, v in r.items() if k != "params"}, "params"),
        (lambda r: r | {"status": "fine"}, "'fine' is unknown"),
        (lambda r: r | {"config": r["config"] | {"training": {"epochs": 3}}}, "TrainingConfig lacks .*'lr'"),
        (lambda r: r | {"history": r["history"] | {"train_loss": [1.0]}}, "different lengths"),
    ],
)
def test_what_is_not_a_record_is_refused_with_its_line(tmp_path, change, message):
    path = tmp_path / "runs.jsonl"
    save_records(path, [record()])
    good = path.read_text()
    path.write_text(good + json.dumps(change(json.loads(good))) + "\n")
    with pytest.raises(InputError, match=rf"runs.jsonl, line 2: .*{message}"):
        load_records(path)


def test_a_missing_file_and_a_damaged_line_are_input_errors(tmp_path):
    path = tmp_path / "runs.jsonl"
    with pytest.raises(InputError, match="cannot be read"):
        load_records(path)
    save_records(path, [record(), record("vit")])
    path.write_text(path.read_text().replace('"schema"', "", 1))
    with pytest.raises(InputError, match="line 1: not a run record"):
        load_records(path)


def test_a_last_line_that_was_cut_off_is_passed_over_with_a_warning(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [record(), record("vit")])
    text = path.read_text()
    path.write_text(text[:-30])
    with pytest.warns(TruncatedLine, match=r"runs.jsonl, line 2: cut off"):
        assert load_records(path) == [record()]
    path.write_text(text[:-1])  # the line's end alone is missing: nothing is lost
    assert load_records(path) == [record(), record("vit")]


def test_a_prediction_survives_a_round_trip(tmp_path):
    path = tmp_path / "runs.jsonl"
    predicted = record(prediction=Prediction("vit", "cnn", 3.5, "because"), experiment="full_comparison")
    save_records(path, [predicted])
    assert load_records(path) == [predicted]


def test_a_run_is_found_for_its_own_experiment_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    save_records(path, [record(experiment="full_comparison")])
    assert find_complete(path, "full_comparison", record().config, "abc")
    assert not find_complete(path, "data_efficiency", record().config, "abc")
    save_records(path, [record(experiment="data_efficiency")])
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
    assert len({record().config, record().config, record("vit").config}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().config.model = "vit"
