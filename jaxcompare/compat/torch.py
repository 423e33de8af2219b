"""Doors to what PyTorch does not promise."""

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class TorchPrograms(NamedTuple):
    """Graphs that torch.compile has compiled in this process."""

    compiled: int
    """All of them, those too whose kernels were in the cache."""
    hits: int
    """Whose kernels were in the cache."""
    misses: int
    """Whose kernels were not."""
    graph_skips: int
    """Times that a CUDA graph was asked for and left out, as far as PyTorch counts it."""


def torch_programs() -> TorchPrograms:
    """What torch.compile has done so far. The first call imports the counters: make one before a clock starts.

    Relies on the counters of a private module, and on their keys. Seen with torch 2.14.1.
    """
    from torch._dynamo.utils import counters

    kernels = counters["inductor"]
    return TorchPrograms(
        counters["stats"]["unique_graphs"],
        kernels["fxgraph_cache_hit"],
        kernels["fxgraph_cache_miss"],
        kernels["cudagraph_skips"],
    )


TORCH_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def keep_torch_programs(folder: str) -> None:
    """Have torch.compile keep its programs in `folder`, in this process and those it starts. Where none is named it
    reads the usual place, another study's programs among them, and compiling would seem to cost less than it does.

    Relies on an environment variable that it reads when it first compiles. Seen with torch 2.14.1.
    """
    os.environ[TORCH_CACHE] = folder


def quiet_autotuning() -> None:
    """Have torch.compile print nothing of the kernels that a mode with autotuning tries.

    Relies on a switch and a function of a private module. Seen with torch 2.14.1.
    """
    from torch._inductor import select_algorithm

    select_algorithm.PRINT_AUTOTUNE = False  # type: ignore[bad-assignment]
    select_algorithm._log_autotune_choices_stats = lambda event_name, timings: None


def stays_in_place(tensor: "torch.Tensor") -> None:
    """Tell torch.compile that a tensor which a step reads stays where it is: a CUDA graph would copy it at every call.

    Relies on a function of a private module. Seen with torch 2.14.1 on CPUs alone; on a GPU not tried.
    """
    import torch._dynamo

    torch._dynamo.mark_static_address(tensor, guard=False)


def end_workers(batches: Iterator[Any] | None) -> None:
    """End the processes behind an iterator over a DataLoader now, though something still refers to it; if it has none,
    nothing is done.

    Relies on a private method: by itself PyTorch ends them with the last reference. Seen with torch 2.14.1.
    """
    end: Callable[[], None] | None = getattr(batches, "_shutdown_workers", None)
    if end:
        end()


def end_kept_workers(loader: "torch.utils.data.DataLoader") -> None:
    """The same of a loader that keeps its workers from one epoch to the next.

    Relies on the private attribute that holds its iterator. Seen with torch 2.14.1.
    """
    end_workers(loader._iterator)


def is_dead_worker(error: RuntimeError) -> bool:
    """Whether a DataLoader ended because a worker process did.

    Relies on the error's text. Seen with torch 2.14.1.
    """
    return "DataLoader worker" in str(error)


def profile_torch() -> "torch.profiler.profile":
    """PyTorch's profiler, to be entered once.

    It warns that the events of other cycles are lost, though there is one cycle, unless it is asked to keep them all:
    since torch 2.11; seen with 2.14.1.
    """
    import torch

    return torch.profiler.profile(acc_events=True)


QUIET_LOGGERS = ("torch.utils.cpp_extension", "torch._dynamo.variables.ctx_manager")


def quiet_loggers() -> None:
    """Keep PyTorch from writing of CUDA_HOME on a machine without a GPU that has CUDA's files, and of the profiler's
    ranges that an optimiser loses when it is compiled.

    Relies on loggers' names. Seen with torch 2.14.1.
    """
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU may round the inputs of matrix products and convolutions to TF32's 10 bits.

    Of PyTorch's two kinds of switches the older, which sets the newer too: set by the newer, the older cannot be read
    any more, and torch.compile reads it. Seen with torch 2.11.0 and 2.14.1; what a GPU makes of them is not tried.
    """
    for switch in _tf32_switches():
        switch.allow_tf32 = allowed


def allows_tf32() -> bool:
    """Whether both of `allow_tf32`'s switches are on."""
    return all(switch.allow_tf32 for switch in _tf32_switches())


def _tf32_switches() -> tuple[Any, Any]:
    import torch

    return torch.backends.cuda.matmul, torch.backends.cudnn
