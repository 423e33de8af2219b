"""Turns: who trains when, beside whom, and what a failure leaves to the others."""

import contextlib
import dataclasses
import os
from pathlib import Path

import pytest
from test_study import SETUP, made_up_timing

from jaxcompare.cells import Cell
from jaxcompare.measure.malloc import KEEP
from jaxcompare.study import turns, worker
from jaxcompare.study.process import CellFailed

EAGER, STEP, JIT = Cell("cnn", "eager"), Cell("cnn", "step"), Cell("cnn", "jit")


@pytest.fixture
def happened(monkeypatch):
    """What processes that are none do, two turns each: "fails" in one, if that is among its cell's TURNS."""
    found = []

    class Process:
        def __init__(self, cell, pausing):
            self.cell, self.left, self.result = cell, 2 * pausing, None

        def work(self):
            found.append((self.cell.engine, self.left))
            if found[-1] in FAILING:
                raise CellFailed("killed")
            self.left -= 1
            if self.left < 0:
                self.result = made_up_timing()
            return self.left < 0

    @contextlib.contextmanager
    def start(function, cell, setup, cache, cold, *, pausing):
        assert (function, setup.dataset, cache, cold) == (worker.time_epochs, SETUP.dataset, Path(cell.engine), True)
        found.append((cell.engine, "begins", os.environ.get("MALLOC_ARENA_MAX")))
        yield Process(cell, pausing)
        found.append((cell.engine, "ends"))

    FAILING.clear()
    monkeypatch.setattr(turns, "fresh_process", start)
    return found


FAILING: set[tuple[str, int]] = set()


def run(*cells, setup=SETUP):
    begun = []
    outcomes = turns.time_in_turns(cells, setup, lambda cell: Path(cell.engine), begun.append)
    assert begun == list(cells)
    assert outcomes.keys() == set(cells)
    return outcomes


def of(happened, *engines):
    """Without who began and ended when."""
    return [one for one in happened if len(one) == 2 and one[1] != "ends" and one[0] in (engines or (one[0],))]


def test_all_have_warmed_up_before_the_first_turn(happened, unset_malloc):
    assert run(EAGER, STEP, JIT) == dict.fromkeys((EAGER, STEP, JIT), made_up_timing())
    assert of(happened) == [(cell.engine, left) for left in (2, 1, 0) for cell in (EAGER, STEP, JIT)]
    assert [one[:2] for one in happened[:2]] == [("eager", "begins"), ("eager", 2)]
    assert [one[1] for one in happened[-3:]] == ["ends"] * 3


def test_plain_jit_alone_has_a_single_arena(happened, unset_malloc):
    for name, value in KEEP.items():
        unset_malloc.setenv(name, str(value))
    run(EAGER, JIT, STEP)
    assert [one for one in happened if len(one) == 3] == [
        ("eager", "begins", None),
        ("jit", "begins", "1"),
        ("step", "begins", None),
    ]
    happened.clear()
    run(JIT, setup=dataclasses.replace(SETUP, gpu=True))
    assert happened[0] == ("jit", "begins", None)


@pytest.mark.parametrize("failing", [("step", 2), ("step", 1)])
def test_one_that_fails_leaves_the_others_their_turns(happened, failing):
    FAILING.add(failing)
    outcomes = run(EAGER, STEP, JIT)
    assert str(outcomes[STEP]) == "killed"
    assert outcomes[EAGER] == outcomes[JIT] == made_up_timing()
    assert of(happened, "step")[-1] == failing
    assert of(happened, "eager", "jit") == [(engine, left) for left in (2, 1, 0) for engine in ("eager", "jit")]


def test_on_a_gpu_and_with_a_loader_a_process_runs_from_end_to_end(happened):
    recipe = dataclasses.replace(EAGER, input="recipe")
    run(recipe, STEP)
    assert of(happened) == [("eager", 0), ("step", 2), ("step", 1), ("step", 0)]
    assert happened.index(("eager", "ends")) < happened.index(("step", "begins", None))  # and gives back its memory
    happened.clear()
    # This package's host pipeline has no workers.
    run(dataclasses.replace(EAGER, input="host"), STEP)
    assert of(happened) == [(engine, left) for left in (2, 1, 0) for engine in ("eager", "step")]
    happened.clear()
    run(EAGER, STEP, setup=dataclasses.replace(SETUP, gpu=True))
    assert of(happened) == [("eager", 0), ("step", 0)]
    assert happened.index(("eager", "ends")) < happened.index(("step", "begins", None))


def test_as_many_are_alive_at_once_as_there_is_memory_for(happened, monkeypatch):
    free = iter([24, 16, 7, 24])
    monkeypatch.setattr(turns, "available_host_bytes", lambda: next(free))
    run(EAGER, STEP, JIT)
    assert of(happened) == [
        *((engine, left) for left in (2, 1, 0) for engine in ("eager", "step")),
        *(("jit", left) for left in (2, 1, 0)),
    ]
