"""A disk that is full while something is written: one line, and what was whole stays whole.

In its place a limit on a file's size, which the operating system reports from the same calls.
"""

import resource

import pytest
from test_checkpoints import TINY, config, numbers

import full_comparison
from jaxcompare.config import InputError
from jaxcompare.records import load_records
from jaxcompare.training.checkpoints import Checkpoints
from jaxcompare.training.fit import fit_seeds

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def fill():
    """Leave room for so many bytes in a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_cannot_be_written(fill, tiny_dataset, tmp_path):
    run, checkpoints = config(), Checkpoints(tmp_path, every_s=0)
    whole, _ = fit_seeds(run, tiny_dataset, [1])

    def on_epoch(records):
        if len(records[0].history.train_loss) == 2:
            checkpoints.flush()
            fill(100)

    with pytest.raises(InputError, match=rf"{tmp_path}: a checkpoint cannot be written \(File too large\); free"):
        fit_seeds(run, tiny_dataset, [1], on_epoch=on_epoch, checkpoints=checkpoints)
    checkpoints.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    fill(resource.RLIM_INFINITY)
    again, _ = fit_seeds(run, tiny_dataset, [1], checkpoints=Checkpoints(tmp_path))
    assert numbers(again) == numbers(whole)
    assert [one["after_epoch"] for one in again[0].execution["resumed"]] == [2]


def test_the_last_checkpoint_is_not_needed_once_the_runs_are_complete(fill, tiny_dataset, tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints" / "one", every_s=0)

    def on_epoch(records):
        if len(records[0].history.train_loss) == 3:
            checkpoints.flush()
            fill(100)

    fit_seeds(config(), tiny_dataset, [1], on_epoch=on_epoch, checkpoints=checkpoints)
    checkpoints.remove()
    assert not list(tmp_path.iterdir())


def test_a_figure_that_cannot_be_written(fill, run_script, fail_script, monkeypatch, capsys, tmp_path):
    save = full_comparison.save_results

    def save_on_a_full_disk(*arguments):
        fill(5_000)
        save(*arguments)

    words = (full_comparison, *TINY, "--epochs", "1", "--out", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(full_comparison, "save_results", save_on_a_full_disk)
        assert "figure1_training.svg: cannot be written (File too large)" in fail_script(*words)
    fill(resource.RLIM_INFINITY)
    assert not list((tmp_path / "figures").iterdir())
    before = (tmp_path / "runs.jsonl").read_bytes()
    assert [record.status for record in load_records(tmp_path / "runs.jsonl")] == ["complete"]
    run_script(*words)
    assert "not repeated" in capsys.readouterr().out
    assert (tmp_path / "runs.jsonl").read_bytes() == before
    assert len(list((tmp_path / "figures").iterdir())) == 4
