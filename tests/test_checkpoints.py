"""A run that was stopped goes on to the numbers of one that was not, whatever became of its files."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from toy import build_toy

import full_comparison
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.records import load_records, save_records
from jaxcompare.training import checkpoints as checkpoints_module
from jaxcompare.training import learner
from jaxcompare.training.checkpoints import Checkpoints
from jaxcompare.training.fit import _check_same_place, fit_seeds
from jaxcompare.training.weights import load_weights, save_weights, weights_path

pytestmark = pytest.mark.usefixtures("toy")

EPOCHS = 4
NUMBERS = ("train_loss", "train_accuracy", "test_accuracy")


class Stopped(Exception):
    """What a test stops a run with."""


def config(engine="chunk", place="device"):
    execution = ExecutionConfig(engine, place, chunk_size=2)
    return RunConfig("jax", "cnn", DataConfig("digits", image_size=8), TrainingConfig(EPOCHS, 32, seed=1), execution)


def numbers(records):
    return [[getattr(record.history, name) for name in NUMBERS] for record in records]


def stop_after(epoch, run, dataset, seeds, folder):
    """Train with a checkpoint an epoch, until so many are done."""
    checkpoints = Checkpoints(folder, every_s=0)

    def stop(records):
        if len(records[0].history.train_loss) == epoch:
            raise Stopped

    with pytest.raises(Stopped):
        fit_seeds(run, dataset, seeds, on_epoch=stop, checkpoints=checkpoints)
    checkpoints.flush()


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"git_commit": "another"}, "commit"), ({"environment": {"cpu": "another"}}, "cpu"),
     ({"environment": {"versions": {"jax": "9"}}}, "jax 9")],
)  # fmt: skip
def test_a_run_does_not_go_on_as_another_program(changed, named, stopped, tiny_dataset, monkeypatch):
    _, folder = stopped
    real = Checkpoints.latest

    def latest(self, state):
        found = real(self, state)
        record = found.records[0]
        new = {
            name: {**getattr(record, name), **value} if isinstance(value, dict) else value
            for name, value in changed.items()
        }
        return dataclasses.replace(found, records=[dataclasses.replace(record, **new)])

    monkeypatch.setattr(Checkpoints, "latest", latest)
    with pytest.raises(InputError, match=f"began with .*{named}"):
        fit_seeds(config(), tiny_dataset, [1], checkpoints=Checkpoints(folder))


def test_where_a_gpu_computes_the_processor_may_be_another():
    """A cluster puts a job into the queue again, and on another node."""
    gpu = {"backend": "gpu", "device": "H100", "versions": {}}
    before, now, other = (
        synthetic.record(environment=gpu | own) for own in ({"cpu": "A"}, {"cpu": "B"}, {"cpu": "A", "device": "A100"})
    )
    _check_same_place(before, now)
    with pytest.raises(InputError, match="began with device H100, this is A100"):
        _check_same_place(before, other)


@pytest.mark.parametrize(
    ("engine", "place", "seeds"),
    [("step", "host", [1]), ("chunk", "host", [1]), ("step", "device", [1]), ("epoch", "device", [1, 2]),
     *(pytest.param("chunk", "device", seeds, marks=pytest.mark.slow) for seeds in ([1, 2], [1, 2, 3]))],
)  # fmt: skip
def test_a_run_goes_on_to_the_same_numbers(engine, place, seeds, tiny_dataset, tmp_path):
    run = config(engine, place)
    whole, params = fit_seeds(run, tiny_dataset, seeds)
    stop_after(2, run, tiny_dataset, seeds, tmp_path)
    shown = []
    again, again_params = fit_seeds(
        run,
        tiny_dataset,
        seeds,
        on_epoch=lambda records: shown.append(len(records[0].history.train_loss)),
        checkpoints=Checkpoints(tmp_path),
    )
    assert shown == list(range(2, EPOCHS + 1))
    assert numbers(again) == numbers(whole)
    np.testing.assert_equal(again_params, params)
    resumed = again[0].execution["resumed"]
    assert [one["after_epoch"] for one in resumed] == [2]
    assert set(resumed[0]["compile_times"]) == set(whole[0].compile_times)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit": flip,
    "missing": Path.unlink,
}


@pytest.fixture(scope="module")
def stopped(tiny_dataset, tmp_path_factory):
    """The numbers of a whole run, and the checkpoints of one that was stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "build_model", build_toy)
        whole, _ = fit_seeds(config(), tiny_dataset, [1])
        folder = tmp_path_factory.mktemp("stopped")
        stop_after(3, config(), tiny_dataset, [1], folder)
    return numbers(whole), folder


# What reads a damaged file may leave a future behind that finds its event loop closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("what", ["state", "about"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(damage, what, stopped, tiny_dataset, tmp_path):
    whole, folder = stopped
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    files = [path for path in (tmp_path / "3" / what).rglob("*") if path.is_file() and path.stat().st_size]
    damage(max(files, key=lambda path: path.stat().st_size))
    with pytest.warns(UserWarning, match=r"/3: damaged \(.*the checkpoint before it is taken"):
        again, _ = fit_seeds(config(), tiny_dataset, [1], checkpoints=Checkpoints(tmp_path))
    assert numbers(again) == whole
    assert [one["after_epoch"] for one in again[0].execution["resumed"]] == [2]


def test_a_whole_one_stays_where_the_program_has_another_state(stopped, tiny_dataset, tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("buffer is smaller than requested size")

    shutil.copytree(stopped[1], tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(checkpoints_module, "_from_bytes", refuse)
    with pytest.raises(ValueError, match="buffer is smaller"):
        fit_seeds(config(), tiny_dataset, [1], checkpoints=Checkpoints(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["2", "3"]


def test_one_is_written_when_it_is_time_and_at_the_end(tiny_dataset, tmp_path):
    checkpoints = Checkpoints(tmp_path / "rare", every_s=3600)
    fit_seeds(config(), tiny_dataset, [1], checkpoints=checkpoints)
    assert not (tmp_path / "rare").exists()
    checkpoints.flush()
    assert (tmp_path / "rare" / str(EPOCHS)).exists()
    checkpoints.remove()
    assert not (tmp_path / "rare").exists()


TINY = ("--dataset", "digits", "--image-size", "8", "--train-size", "64", "--batch-size", "32", "--models", "cnn")


def test_weights_are_kept_and_are_those_of_the_record(run_script, tmp_path):
    run_script(full_comparison, *TINY, "--epochs", "1", "--seeds", "2", "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "runs.jsonl", "summary.json", "weights"]
    first, second = load_records(tmp_path / "runs.jsonl")
    params = load_weights(tmp_path, first)
    assert params["head"]["kernel"].shape == (16, 10)
    assert not np.array_equal(params["head"]["kernel"], load_weights(tmp_path, second)["head"]["kernel"])
    path = weights_path(tmp_path, first)
    save_weights(path, {"head": {"kernel": np.zeros(3)}})
    with pytest.raises(InputError, match="not the file that this run wrote"):
        load_weights(tmp_path, first)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="not the file that this run wrote"):
        load_weights(tmp_path, first)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(tmp_path, first)
    with pytest.raises(InputError, match="kept no weights"):
        load_weights(tmp_path, dataclasses.replace(first, execution={}))


def test_checkpoints_of_runs_that_are_complete_go(run_script, monkeypatch, tmp_path):
    words = (full_comparison, *TINY, "--epochs", "1", "--checkpoint-every", "0", "--no-keep-weights", "--out", tmp_path)
    with monkeypatch.context() as patch:
        # As if killed before it.
        patch.setattr(Checkpoints, "remove", lambda self: self.flush())
        run_script(*words)
    assert (tmp_path / "checkpoints").exists()
    run_script(*words)
    assert not (tmp_path / "checkpoints").exists()


def test_fresh_moves_what_was_there_aside(run_script, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        run_script(full_comparison, *TINY, "--epochs", "1", "--no-keep-weights", "--fresh", "--out", out)
    records = [load_records(folder / "runs.jsonl") for folder in (out, tmp_path / "out.1")]
    assert numbers(records[0]) == numbers(records[1])
    assert not (out / "weights").exists()


def test_a_run_is_logged_as_csv(run_script, tmp_path):
    run_script(full_comparison, *TINY, "--epochs", "2", "--log-dir", tmp_path / "logs", "--out", tmp_path / "out")
    (record,) = load_records(tmp_path / "out" / "runs.jsonl")
    log = pd.read_csv(tmp_path / "logs" / "cnn-64-seed42.csv")
    assert list(log.epoch) == [1, 2]
    assert log.test_accuracy.to_list() == pytest.approx(record.history.test_accuracy)


def test_what_is_refused_moves_nothing_and_leaves_nothing(run_script, fail_script, tmp_path):
    out = tmp_path / "out"
    for finished in (False, True):
        words = (*TINY, "--epochs", "1", "--out", out)
        assert "9999" in fail_script(full_comparison, *words, "--train-size", "9999", "--fresh")
        assert not (tmp_path / "out.1").exists()
        assert (out.exists(), (out / "runs.jsonl").exists()) == (finished, finished)
        run_script(full_comparison, *words)


def test_fresh_leaves_a_folder_of_anything_else_alone(fail_script, monkeypatch, tmp_path):
    (tmp_path / "thesis.tex").touch()
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path, "."):
        assert "holds no results" in fail_script(full_comparison, *TINY, "--fresh", "--out", out)
    assert (tmp_path / "thesis.tex").exists()


def test_an_edited_record_is_refused(run_script, tmp_path):
    run_script(full_comparison, *TINY, "--epochs", "1", "--out", tmp_path)
    path = tmp_path / "runs.jsonl"
    (record,) = load_records(path)
    changed = dataclasses.replace(record, params=record.params + 1)
    path.write_text(path.read_text().replace(f'"params": {record.params}', f'"params": {changed.params}'))
    with pytest.raises(InputError, match=r"line 1: not a run record .*checksum is another"):
        load_records(path)
    path.unlink()
    save_records(path, [changed])
    assert load_records(path) == [changed]


@pytest.mark.slow
def test_what_was_killed_comes_to_the_same():
    """One kill of one shape: `kills.py` has all."""
    words = [sys.executable, Path(__file__).with_name("kills.py"), "chunk-device-2-seeds", "--kills", "1"]
    assert subprocess.run(words).returncode == 0
