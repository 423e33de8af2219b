"""PyTorch on several cores at once: a batch's gradient, in micro-batches, by a thread for each core."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from jaxcompare.cells import Cell
from jaxcompare.torch_side import cell_step, replicas


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)


def build_loss(note):
    """As a cell's, after `note` was given the labels."""

    def build(model):
        def compute_loss(images, labels):
            note(labels)
            logits = model(images)
            return cross_entropy(logits, labels), logits

        return compute_loss

    return build


def test_a_batch_of_uneven_micro_batches_has_its_own_gradient(batch):
    """Of 40 images a core has 20: micro-batches of 16 and 4."""
    torch.manual_seed(0)
    model, seen = nn.Linear(6, 3), []
    loss, logits = replicas.propagate_on_cores(model, build_loss(lambda labels: seen.append(len(labels))), 2, 16)(
        *batch
    )
    assert sorted(seen) == [4, 4, 16, 16]
    grad, model.weight.grad = model.weight.grad.clone(), None
    whole = model(batch[0])
    expected = cross_entropy(whole, batch[1])
    expected.backward()
    torch.testing.assert_close(grad, model.weight.grad)
    torch.testing.assert_close((loss, logits), (expected.detach(), whole.detach()))


def test_cores_work_at_the_same_time(batch):
    """Each waits for the other in its first part: one after the other they would never meet."""
    meeting = threading.Barrier(2)
    replicas.propagate_on_cores(nn.Linear(6, 3), build_loss(lambda labels: meeting.wait(60)), 2, None)(*batch)


@pytest.mark.parametrize(("options", "size"), [(("replicas",), None), (("replicas", "slices-16"), 16)])
def test_a_cell_has_its_cores_and_micro_batches(options, size, monkeypatch):
    asked = []
    monkeypatch.setattr(cell_step, "cpu_cores", lambda: 3)
    monkeypatch.setattr(cell_step, "propagate_on_cores", lambda *arguments: asked.append(arguments[2:]))
    cell_step.build_propagation(Cell("cnn", "eager", options=options), nn.Linear(6, 3), torch.device("cpu"))
    assert asked == [(3, size)]
