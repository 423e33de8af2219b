"""PyTorch's step on a CPU as this package's runs there: each core has a replica of the model and takes its part of a
batch, in micro-batches."""

import copy
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

Loss = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""(images, labels), or what `resident.make_batch` makes them of -> mean loss, logits: as a cell computes them."""


def propagate_on_cores(model: nn.Module, build_loss: Callable[[nn.Module], Loss], cores: int, size: int | None) -> Loss:
    """What leaves the gradients of a batch's loss in the model, computed by a thread for each core.

    Args:
        build_loss: a replica's.
        size: examples of a micro-batch; None: a core's part at once.
    """
    torch.set_num_threads(1)
    compute_loss = build_loss(model)
    replicas = [model, *(_replicate(model) for _ in range(cores - 1))]
    losses = [compute_loss, *map(build_loss, replicas[1:])]
    pool = ThreadPoolExecutor(cores, initializer=functools.partial(torch.set_num_threads, 1))

    def run(compute_loss: Loss, part: Sequence[torch.Tensor], examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        total, logits = torch.zeros(()), []
        for micro_batch in zip(*(x.split(size or len(x)) for x in part), strict=True):
            loss, made = compute_loss(*micro_batch)
            share = loss * (len(made) / examples)
            share.backward()
            total += share.detach()
            logits.append(made.detach())
        return total, torch.cat(logits)

    def propagate(*batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for replica in replicas:
            replica.zero_grad()
        examples = len(batch[0])
        parts = list(zip(*(x.chunk(cores) for x in batch), strict=True))
        shares, logits = zip(*pool.map(run, losses, parts, [examples] * len(parts)), strict=False)
        for parameter, *others in zip(*(replica.parameters() for replica in replicas), strict=True):
            for other in others:
                if other.grad is not None:  # a batch of one image has one part
                    parameter.grad += other.grad
        return torch.stack(shares).sum(), torch.cat(logits)

    return propagate


def _replicate(model: nn.Module) -> nn.Module:
    """The same parameters in memory, with gradients of their own."""
    replica = copy.deepcopy(model)
    for ours, theirs in zip(replica.parameters(), model.parameters(), strict=True):
        ours.data = theirs.data
    return replica
