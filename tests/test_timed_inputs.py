"""What a timed cell is fed with, and by whom."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from timed import EAGER, SETUP, STEP, jax_timing, torch_timing
from torch.utils.data import DataLoader, RandomSampler

from jaxcompare.config import TrainingConfig
from jaxcompare.data import host, recipe
from jaxcompare.data.recipe import RecipeLoader, RecipeStream
from jaxcompare.jax_side import cell_engine
from jaxcompare.torch_side import cell_step
from jaxcompare.torch_side.cell_batches import open_batches

pytestmark = pytest.mark.usefixtures("toy", "prepared_batches")

# Clocks.


@pytest.mark.parametrize(
    ("place", "theirs_asked", "ours_asked"),
    [("recipe", [], []), ("host", [0, 1], [0, 1]), ("arrays", [], []), (None, [], [])],
)
def test_every_input_feeds_both_frameworks(place, theirs_asked, ours_asked, monkeypatch, no_ceilings):
    """Of the host pipeline, each epoch is asked for in its time; or none, where batches are prepared or JAX's own."""
    asked = []
    real = host.HostLoader.epoch
    monkeypatch.setattr(host.HostLoader, "epoch", lambda self, epoch: asked.append(epoch) or real(self, epoch))
    monkeypatch.setattr(recipe, "WORKERS", 0)  # they are forked, and JAX runs in this process
    theirs = torch_timing(dataclasses.replace(EAGER, input=place), epochs=2)
    assert asked == theirs_asked
    asked.clear()
    ours = jax_timing(dataclasses.replace(STEP, input=place), epochs=2)
    assert asked == ours_asked
    # Nothing of evaluation, which torch.compile's first step does not hold either.
    assert {"init", "train_step"} == set(ours.compile_times) - {"plan"}
    assert ours.programs == len(ours.compile_times)
    assert theirs.programs == 0


def test_the_recipes_stream_shows_every_image_once_a_pass_in_a_new_order():
    with RecipeStream(SETUP.dataset, 16, workers=0) as stream:
        passes = [np.concatenate([labels.numpy() for _, labels in stream.epoch(epoch)]) for epoch in range(3)]
    for labels in passes:
        assert sorted(labels) == sorted(SETUP.dataset.train.labels)
    assert list(passes[0]) != list(passes[1])


def test_no_pass_of_the_recipes_stream_is_a_gift(monkeypatch):
    """Workers have as much made ahead after a pass as before it: else the last would be had for nothing."""
    drawn = []

    class Counted(RandomSampler):
        def __iter__(self):
            for index in super().__iter__():
                drawn.append(index)
                yield index

    monkeypatch.setattr(recipe, "RandomSampler", Counted)
    ahead, taken = [], 0
    with RecipeStream(SETUP.dataset, 16, workers=2, beside_jax=True) as stream:
        for epoch in range(3):
            ahead.append(len(drawn) / 16 - taken)
            taken += len(list(stream.epoch(epoch)))
        ahead.append(len(drawn) / 16 - taken)
    assert ahead == [4] * 4


@pytest.mark.parametrize(("beside_jax", "method"), [(False, "fork"), (True, "forkserver")])
def test_the_recipes_workers_start_as_its_own_do(beside_jax, method):
    """Forked, but where JAX's threads would not survive it: spawned ones take seconds to start."""
    stream = RecipeStream(SETUP.dataset, 16, workers=2, beside_jax=beside_jax)
    assert stream._loader.multiprocessing_context.get_start_method() == method


def test_the_recipes_loader_gives_jax_its_layout():
    with RecipeLoader(SETUP.dataset, TrainingConfig(batch_size=32)) as loader:
        first, second = loader.epoch(0)
    assert first.images.shape == (32, 8, 8, 3)
    assert (first.images.dtype, first.labels.dtype, first.mask.sum()) == (np.float32, np.int32, 32)
    assert sorted(np.concatenate([first.labels, second.labels])) == sorted(SETUP.dataset.train.labels)


def test_prepared_batches_are_the_pipelines_and_lie_as_xla_takes_them():
    cell = dataclasses.replace(STEP, input="arrays")
    loaded = SETUP.batches_of(cell)
    loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0)
    for batch, made in zip(loaded, loader.epoch(0), strict=True):
        for part, other in zip(batch, made, strict=True):
            assert part.dtype == other.dtype
            np.testing.assert_array_equal(part, other)
        assert batch.images.ctypes.data % 64 == 0
    assert not STEP.prepared


@pytest.mark.parametrize(
    ("engine", "place"),
    [("eager", "prepared"), ("eager", "arrays"), ("op", "prepared"), ("step", "arrays")],
)
def test_what_a_step_gets_is_the_pipelines(engine, place):
    cell = dataclasses.replace(STEP, engine=engine, input=place)
    loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0)
    made = list(loader.epoch(0))
    if engine == "eager":
        with open_batches(cell, SETUP, torch.device("cpu")) as batches:
            got = [(images.permute(0, 2, 3, 1).numpy(), labels.numpy()) for images, labels in batches(1)]
    else:
        got = [
            (np.asarray(batch.images), np.asarray(batch.labels))
            for batch in cell_engine.build_loader(cell, SETUP).epoch(1)
        ]
    for (images, labels), batch in zip(got, made, strict=True):
        np.testing.assert_array_equal(images, batch.images)
        np.testing.assert_array_equal(labels, batch.labels)


def test_resident_batches_are_made_in_the_step_of_every_image_once(no_ceilings, monkeypatch):
    made, real = [], cell_step.make_batch
    monkeypatch.setattr(cell_step, "make_batch", lambda *of: made.append(real(*of)) or made[-1])
    cell = dataclasses.replace(EAGER, input="resident", batch_size=24)
    timing = torch_timing(cell, epochs=2)
    assert len(timing.first_step_time_s) == 3
    assert [len(labels) for _, labels in made] == [24, 24, 16] * 2
    for epoch in (made[:3], made[3:]):
        assert sorted(np.concatenate([labels for _, labels in epoch])) == sorted(SETUP.dataset.train.labels)
    assert not torch.equal(made[0][1], made[3][1])


def test_a_cell_of_jax_whose_batches_are_prepared_needs_no_pytorch(tmp_path):
    (tmp_path / "cell").write_bytes(pickle.dumps((dataclasses.replace(STEP, input="arrays"), SETUP)))
    program = (
        "import os, pickle, sys; from pathlib import Path; from jaxcompare.measure import ceiling, clock\n"
        "from jaxcompare.study import worker; clock.TURN_S, ceiling.ceiling_sizes = 0.0, lambda _: (64, 1024)\n"
        "folder = Path(sys.argv[1]); "
        "worker.time_epochs(*pickle.loads((folder / 'cell').read_bytes()), folder / 'cache'); "
        "sys.exit('torch' in sys.modules or 'OMP_WAIT_POLICY' in os.environ)"  # the gates' own
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == 0


def test_pytorch_has_one_thread_where_it_only_prepares_batches():
    torch.set_num_threads(2)
    for beside_jax, threads in ((True, 1), (False, 2)):
        loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0, beside_jax=beside_jax)
        with loader:
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2


# Phases: time that is planted is found where it was planted.


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_recipes_loader_has_its_two_workers_where_it_is_timed(framework, monkeypatch, no_ceilings):
    workers = []

    def loader(*args, num_workers, multiprocessing_context, **kwargs):
        workers.append((num_workers, multiprocessing_context is not None))
        return DataLoader(*args, **kwargs)  # none here: PyTorch's are forked, and JAX runs in this process

    monkeypatch.setattr(recipe, "DataLoader", loader)
    cell = dataclasses.replace(EAGER if framework == "torch" else STEP, input="recipe")
    (torch_timing if framework == "torch" else jax_timing)(cell, epochs=2)
    assert workers == [(2, True)]
