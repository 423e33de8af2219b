"""PyTorch on several cores at once: a batch's gradient, in micro-batches, by a process for each core."""

import os
import signal
import time
from multiprocessing import active_children, parent_process
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout

from jaxcompare.cells import Cell
from jaxcompare.measure.environment import process_peak_bytes
from jaxcompare.torch_side import cell_step, replicas

WORKING = Path("working")
"""A file of each process that works, in the folder of the test."""


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)


def build_loss(model):
    """As a cell's. What stands here runs in other processes too."""

    def compute_loss(images, labels):
        logits = model(images)
        return cross_entropy(logits, labels), logits

    return compute_loss


@pytest.mark.parametrize("examples", [40, 3, 1])
def test_a_batch_of_uneven_micro_batches_has_its_own_gradient(batch, examples):
    """Of 40 images a core has 20: micro-batches of 16 and 4. Of one image there is one part."""
    torch.manual_seed(0)
    batch = [part[:examples] for part in batch]
    model = nn.Linear(6, 3)
    propagate = replicas.propagate_on_cores(model, build_loss, 2, 16)
    for _ in range(2):  # gradients are those of the last batch alone
        model.zero_grad()
        loss, logits = propagate(*batch)
    grad, model.weight.grad = model.weight.grad.clone(), None
    whole = model(batch[0])
    expected = cross_entropy(whole, batch[1])
    expected.backward()
    torch.testing.assert_close(grad, model.weight.grad)
    torch.testing.assert_close((loss, logits), (expected.detach(), whole.detach()))


def test_replicas_have_the_parameters_after_an_update(batch):
    model = nn.Linear(6, 3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    propagate = replicas.propagate_on_cores(model, build_loss, 2, None)
    propagate(*batch)
    optimiser.step()
    torch.testing.assert_close(propagate(*batch)[1], model(batch[0]).detach())


def count_micro_batches(model):
    def compute_loss(images, labels):
        count = torch.full((len(images), 3), float(len(images)), requires_grad=True)
        return (count * sum(parameter.sum() for parameter in model.parameters())).mean(), count

    return compute_loss


def test_micro_batches_have_their_size(batch):
    _, logits = replicas.propagate_on_cores(nn.Linear(6, 3), count_micro_batches, 2, 16)(*batch)
    assert logits[:, 0].tolist() == 2 * ([16] * 16 + [4] * 4)


def wait_for_another(model):
    """Each core waits for the other in its first part: one after the other they would never meet."""

    def compute_loss(images, labels):
        WORKING.mkdir(exist_ok=True)
        (WORKING / str(os.getpid())).touch()
        for _ in range(1000):
            if len(list(WORKING.iterdir())) == 2:
                return build_loss(model)(images, labels)
            time.sleep(0.06)
        raise TimeoutError("alone")

    return compute_loss


def test_cores_work_at_the_same_time(batch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replicas.propagate_on_cores(nn.Linear(6, 3), wait_for_another, 2, None)(*batch)


def drop(model):
    def compute_loss(images, labels):
        kept = dropout(torch.ones(len(images), 3), 0.5)
        return (kept * sum(parameter.sum() for parameter in model.parameters())).mean(), kept

    return compute_loss


def test_each_core_draws_dropout_of_its_own():
    torch.manual_seed(0)
    images = torch.zeros(60, 6)
    _, kept = replicas.propagate_on_cores(nn.Linear(6, 3), drop, 3, None)(images, torch.zeros(60))
    first, second, third = kept.split(20)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def fail(model):
    return build_loss(model) if parent_process() is None else refuse


def refuse(images, labels):
    raise ValueError("no such images")


def kill(model):
    return build_loss(model) if parent_process() is None else lambda *_: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("of_replica", "reason"), [(fail, "ValueError: no such"), (kill, "a replica's process was killed")]
)
def test_a_replica_that_fails_says_why(batch, of_replica, reason):
    with pytest.raises(RuntimeError, match=reason):
        replicas.propagate_on_cores(nn.Linear(6, 3), of_replica, 2, None)(*batch)


@pytest.mark.parametrize(("options", "size"), [(("replicas",), None), (("replicas", "slices-16"), 16)])
def test_a_cell_has_its_cores_and_micro_batches(options, size, monkeypatch):
    asked = []
    monkeypatch.setattr(cell_step, "cpu_cores", lambda: 3)
    monkeypatch.setattr(cell_step, "propagate_on_cores", lambda *arguments: asked.append(arguments[2:]))
    cell_step.build_propagation(Cell("cnn", "eager", options=options), nn.Linear(6, 3), torch.device("cpu"))
    assert asked == [(3, size)]


def test_their_memory_is_counted(batch):
    """Each has PyTorch in memory."""
    while active_children():  # of the tests before
        time.sleep(0.05)
    before = process_peak_bytes(children=True)
    propagate = replicas.propagate_on_cores(nn.Linear(6, 3), build_loss, 2, None)
    propagate(*batch)
    assert process_peak_bytes(children=True) > before + 100e6
