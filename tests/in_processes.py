"""What tests call in a fresh process: apart from them, so that it imports no more than it needs."""

import ctypes
import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxcompare.measure.environment import page_faults
from jaxcompare.measure.malloc import malloc_settings


def dies():
    os._exit(1)


def runs_out_of_memory():
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 GB")


def fills_the_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


class Unsendable(RuntimeError):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def cannot_be_sent():
    raise Unsendable("neither", "here nor there")


def is_a_bug():
    return {}["key"]


def writes(place):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    Path(place).write_text(str(signal.SIGINT in blocked))


def pauses(count, *, pause):
    for _ in range(count):
        pause()
    return os.getpid(), os.getpgrp()


def dies_in_its_turn(*, pause):
    pause()
    os._exit(1)


def sleeps(place):
    Path(place).write_text(str(os.getpid()))
    signal.pause()


def _fill(size, count=1):
    for block in [ctypes.create_string_buffer(size) for _ in range(count)]:
        ctypes.memset(block, 1, size)


def _faults_again(size, count=1):
    """Pages cleared for memory that this thread had before and gave back."""
    _fill(size, count)
    before = page_faults()
    _fill(size, count)
    return page_faults() - before


def faults_of_blocks_taken_again():
    """Of 60 MB in one block, and of 100 MB in small ones in the arena of another thread, more than one of its heaps;
    and what the manifest says of it."""
    with ThreadPoolExecutor(1) as thread:
        return _faults_again(60_000_000), thread.submit(_faults_again, 100_000, 1_000).result(), malloc_settings()


def faults_of_a_thread(cell):
    """Of 100 MB in one block of another thread: more than its heap holds."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_faults_again, 100_000_000).result()
