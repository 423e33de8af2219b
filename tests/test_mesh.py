"""One run on many devices: the same numbers on any of them."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
import pytest
from mesh import STEPS, Case, train_on

from jaxcompare.config import ExecutionConfig, InputError
from jaxcompare.data.batch import Batch
from jaxcompare.study.process import in_fresh_process
from jaxcompare.training.placement import choose_placement

HOST = ExecutionConfig("step", "host")
EPOCH = ExecutionConfig("epoch", "device")

CASES = {
    "a short last batch": Case(),
    "whole epochs": Case(execution=EPOCH),
    "host input": Case(execution=HOST),
    "micro-batches that do not divide the batch": Case(batch_size=10),
    "micro-batches that do not divide the host's": Case(batch_size=10, execution=HOST),
    "more devices than images in a batch": Case(images=9, batch_size=3, micro_batch=1),
    "more devices than images": Case(images=2, batch_size=2, micro_batch=None),
    "as on GPUs, the batch cut once": Case(micro_batch=None),
    "as on GPUs, host input": Case(micro_batch=None, execution=HOST),
    "two seeds": Case(seeds=2),
    "six seeds, two at a time": Case(seeds=6, execution=dataclasses.replace(EPOCH, seeds_per_call=2)),
}


def check_equal(case: Case, meshes: dict[int, tuple[int, int]], tolerance: float = 1e-12) -> None:
    alone, *others = in_fresh_process(train_on, case, list(meshes))
    assert alone.mesh == (1, 1)
    assert alone.losses.shape[1] >= STEPS
    assert len(np.unique(alone.losses.round(9))) == alone.losses.size  # no step, no seed is another's
    for outcome, mesh in zip(others, [*meshes.values()][1:], strict=True):
        assert outcome.mesh == mesh
        np.testing.assert_allclose(outcome.losses[:, :3], alone.losses[:, :3], rtol=1e-12)
        np.testing.assert_allclose(outcome.losses, alone.losses, rtol=tolerance)
        assert outcome.hits == alone.hits
        for here, there in zip(outcome.params, alone.params, strict=True):
            # Some of the ViT's parameters are made as float32 whatever JAX's default is.
            bound = tolerance if there.dtype == np.float64 else 1e-6
            assert np.linalg.norm(here - there) <= bound * np.linalg.norm(there)


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


def meshes(seeds: int, *devices: int) -> dict[int, tuple[int, int]]:
    return {n: (math.gcd(seeds, n), n // math.gcd(seeds, n)) for n in (1, *devices)}


@pytest.mark.parametrize(
    "name", [slow("a short last batch"), slow("host input"), "more devices than images in a batch", "two seeds"]
)
def test_losses_and_parameters_are_one_devices_in_float64(name):
    check_equal(CASES[name], meshes(CASES[name].seeds, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_on_any_number_of_devices(name):
    check_equal(CASES[name], meshes(CASES[name].seeds, 2, 8))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_the_models_are_one_devices_too(model):
    # Adam's update of a gradient near 0 goes by its sign, which rounding decides: steps carry that on.
    check_equal(Case(model), meshes(1, 2, 4, 8), tolerance=1e-9)


def test_devices_share_out_seeds_first_and_batches_on_cpus():
    (device,) = set(jax.local_devices()[:1])

    def mesh(seeds: int, devices: int, wanted: int | None = None) -> tuple[int, int]:
        placed = choose_placement("cnn", seeds, [device] * devices, wanted)
        return placed.seed_shards, placed.batch_shards

    assert [mesh(seeds, 4) for seeds in (1, 2, 3, 4, 6, 8)] == [(1, 4), (2, 2), (1, 4), (4, 1), (2, 2), (4, 1)]
    assert (mesh(5, 4, 2), mesh(2, 4, 2), mesh(1, 4, 1)) == ((1, 2), (2, 1), (1, 1))
    with pytest.raises(InputError, match="--devices 5: there are 4"):
        mesh(1, 4, 5)


def test_what_a_batch_is_padded_with_does_not_count():
    placement = choose_placement("cnn", 1, jax.local_devices())
    batch = Batch(np.ones((9, 8, 8, 3), np.float32), np.ones(9, np.int32), np.ones(9, np.float32))
    put = placement.put_batch(batch)
    assert len(put.labels) == len(put.images) == placement.computed_batch_size(9) > 9
    assert put.mask.sum() == 9


def test_a_gpu_is_alone_with_a_batch_unless_more_are_asked_for():
    class Gpu:
        platform, device_kind, process_index = "gpu", "a GPU", 0

    def mesh(seeds: int, wanted: int | None = None) -> tuple[int, int]:
        placed = choose_placement("vit", seeds, [Gpu()] * 4, wanted)
        return placed.seed_shards, placed.batch_shards

    assert [mesh(seeds) for seeds in (1, 2, 3, 6, 8)] == [(1, 1), (2, 1), (3, 1), (3, 1), (4, 1)]
    assert (mesh(1, 4), mesh(2, 4)) == ((1, 4), (2, 2))
    assert choose_placement("vit", 1, [Gpu()]).micro_batch_size is None
    assert [choose_placement("vit", seeds, [Gpu()] * 4).seeds_at_once(seeds) for seeds in (1, 5, 6, 8)] == [1, 5, 2, 2]
    assert choose_placement("vit", 6, jax.local_devices()).seeds_at_once(6) == 1
