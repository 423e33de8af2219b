"""PyTorch's step on a CPU as this package's runs there: each core has a replica of the model and takes its part of a
batch, in micro-batches. Replicas are processes: threads would take turns at one generator of dropout."""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from torch import nn

from jaxcompare.parent import end_with_parent

Loss = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""(images, labels), or what `resident.make_batch` makes them of -> mean loss, logits: as a cell computes them."""

Propagate = Callable[[Sequence[torch.Tensor], int], tuple[torch.Tensor, torch.Tensor]]
"""A core's part of a batch, the batch's examples -> its part of the mean loss, logits; leaves gradients in a model."""


def propagate_on_cores(model: nn.Module, build_loss: Callable[[nn.Module], Loss], cores: int, size: int | None) -> Loss:
    """What leaves the gradients of a batch's loss in the model, computed by a process for each core, this one among
    them. The model's parameters go to memory that they share, and are to be changed in place.

    Args:
        build_loss: a replica's; can be pickled.
        size: examples of a micro-batch; None: a core's part at once.
    """
    torch.set_num_threads(1)
    propagate_part = in_micro_batches(build_loss(model), size)
    model.share_memory()
    replicas = [_Replica(model, build_loss, size, torch.initial_seed() + core) for core in range(1, cores)]

    def propagate(*batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        examples = len(batch[0])
        mine, *parts = zip(*(x.chunk(cores) for x in batch), strict=True)
        at_work = replicas[: len(parts)]  # a batch of one image has one part
        for replica, part in zip(at_work, parts, strict=True):
            replica.begin(part, examples)
        answers = [propagate_part(mine, examples), *(replica.end() for replica in at_work)]
        for replica in at_work:
            for parameter, grad in zip(model.parameters(), replica.grads, strict=True):
                assert parameter.grad is not None
                parameter.grad += grad
        losses, logits = zip(*answers, strict=True)
        return torch.stack(losses).sum(), torch.cat(logits)

    return propagate


def in_micro_batches(compute_loss: Loss, size: int | None) -> Propagate:
    """Gradients of a part of a batch, summed over its micro-batches."""

    def propagate_part(part: Sequence[torch.Tensor], examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        total, logits = torch.zeros(()), []
        for micro_batch in zip(*(x.split(size or len(x)) for x in part), strict=True):
            loss, made = compute_loss(*micro_batch)
            share = loss * (len(made) / examples)
            share.backward()
            total += share.detach()
            logits.append(made.detach())
        return total, torch.cat(logits)

    return propagate_part


class _Replica:
    """A process with the model's parameters, and gradients and random numbers of its own."""

    def __init__(self, model: nn.Module, build_loss: Callable[[nn.Module], Loss], size: int | None, seed: int):
        self.grads = [torch.zeros_like(parameter).share_memory_() for parameter in model.parameters()]
        spawn = get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        spawn.Process(target=_serve, args=(theirs, model, self.grads, build_loss, size, seed), daemon=True).start()
        theirs.close()

    def begin(self, part: Sequence[torch.Tensor], examples: int) -> None:
        """Have it propagate a part of a batch."""
        with contextlib.suppress(BrokenPipeError):  # `end` says why
            self._ours.send(([x.numpy() for x in part], examples))

    def end(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Its part of the loss, and logits, once `grads` are those of its part.

        Raises:
            RuntimeError: it failed, or was killed.
        """
        try:
            answer = self._ours.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError("a replica's process was killed") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        loss, logits = answer
        return torch.tensor(loss), torch.from_numpy(logits)


def _serve(
    batches: Connection,
    model: nn.Module,
    grads: Sequence[torch.Tensor],
    build_loss: Callable[[nn.Module], Loss],
    size: int | None,
    seed: int,
) -> None:
    """In a replica's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        parameter.grad = grad
    with contextlib.suppress(EOFError, BrokenPipeError):  # the other end was closed
        try:
            propagate_part = in_micro_batches(build_loss(model), size)
            while True:
                part, examples = batches.recv()
                model.zero_grad(set_to_none=False)
                loss, logits = propagate_part([torch.from_numpy(x) for x in part], examples)
                batches.send((float(loss), logits.numpy()))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            batches.send(f"{type(error).__name__}: {error}")
    # At once: leaving an interpreter is work, and other processes have their turn.
    os._exit(0)
