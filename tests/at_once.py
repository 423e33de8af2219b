"""Processes that are none: what they would do is done where they would be started."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class Answered:
    """In place of a `FreshProcess`: it never pauses."""

    def __init__(self, call: Callable[[], Any]):
        self._call = call
        self.result: Any = None

    def work(self) -> bool:
        self.result = self._call()
        return True


def in_place_of_fresh_process(answer: Callable[..., Any]) -> Callable[..., Any]:
    """What stands for `fresh_process`, where `answer` is what stands for `in_fresh_process`."""

    @contextlib.contextmanager
    def start(function: Callable, *arguments: Any, pausing: bool = False) -> Iterator[Answered]:
        del pausing
        yield Answered(lambda: answer(function, *arguments))

    return start
