"""What glibc's allocator does with freed memory: a cost of a step that comes and goes by chance, unless it is set."""

import contextlib
import os
from collections.abc import Iterator

KEEP = {"MALLOC_MMAP_MAX_": 0, "MALLOC_TRIM_THRESHOLD_": 2**34, "MALLOC_TOP_PAD_": 2**26}
"""No block is a mapping of its own, which goes back to the system when it is freed; the heap is not cut back below this
many bytes; and a thread's arena keeps its heaps, each of 64 MiB, though they are empty. A block of more than that fits
in no such heap and is a mapping all the same; see `single_arena`."""

PREFIXES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> None:
    """Have glibc's allocator keep freed memory for the next step, in every process that is started from now on.

    Left to itself it gives large blocks back by a threshold that moves, and what is free at the end of a heap; the next
    step has their pages cleared again, in some processes more than in others. What the user has set stays. The number
    of arenas is glibc's: with one alone, the threads of JAX's step wait for each other.
    """
    # Read when a process starts, before any of its own code.
    for name, value in KEEP.items():
        os.environ.setdefault(name, str(value))


@contextlib.contextmanager
def single_arena() -> Iterator[None]:
    """Have processes that are started meanwhile use one arena, where the allocator is to keep freed memory.

    That arena's heap has no largest size. Plain jit of the ViT asks from a thread for one buffer of hundreds of MB, and
    would have its pages cleared anew at every step, a third of its time.
    """
    if os.environ.get("MALLOC_MMAP_MAX_") != "0" or "MALLOC_ARENA_MAX" in os.environ:
        yield
        return
    os.environ["MALLOC_ARENA_MAX"] = "1"
    try:
        yield
    finally:
        del os.environ["MALLOC_ARENA_MAX"]


def malloc_settings() -> str:
    """What the environment has for the allocator, or puts in its place, for a fairness manifest; empty: nothing."""
    return ", ".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(PREFIXES))
