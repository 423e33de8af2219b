"""The engine without this package's ways: the whole batch at once, on one device, with XLA's own convolutions.

    op      every operation dispatched by itself, the model traced in Python anew at every step: JAX without jit
    traced  the same operations from a jaxpr that was traced once; Python still dispatches each
    jit     one program a step, as `jax.jit` makes it

What JAX has jitted of its own (softmax, random bits) is one operation. What the other engines are measured against.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcompare.cells import CellEngine
from jaxcompare.compat import jax as compat
from jaxcompare.data.batch import Batch, Loader
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.training.engine import Engine, OnStep
from jaxcompare.training.learner import Learner
from jaxcompare.training.programs import Programs
from jaxcompare.training.step import Metrics, TrainState


class PlainEngine(Engine):
    """Batches of a loader. One seed, whose state is not stacked."""

    def __init__(self, name: CellEngine, learner: Learner, loader: Loader, batch_size: int):
        super().__init__(learner)
        self._loader, self._waits = loader, name != "jit"
        self._opened = contextlib.ExitStack()
        self._seed, shape = jnp.uint32(*learner.seeds), learner.image_shape
        blank = Batch(jnp.zeros((batch_size, *shape)), jnp.zeros(batch_size, jnp.int32), jnp.ones(batch_size))
        with self._precision():
            self._init = prepare(name, self.programs, "init", learner.init_one, self._seed)
            step, state = learner.build_train_step(), self.init()
            self._step = prepare(name, self.programs, "train_step", step, state, blank, donate_argnums=0)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """Of operations that are compiled when they are first called."""
        return jax.default_matmul_precision(MATMUL_PRECISION[self.learner.precision])

    def init(self) -> TrainState:
        with self._precision():
            return self._init(self._seed)

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        metrics, start = [], time.perf_counter()
        for batch in self._loader.epoch(epoch):
            state, of_batch = self._step(state, to_device(batch))
            metrics.append(of_batch)
            if epoch == 0 and self._waits:
                jax.block_until_ready(state)
                self.first_step_time_s.append(time.perf_counter() - start)
                start = time.perf_counter()
            on_step(len(metrics))
        return state, metrics, 0.0

    def __enter__(self) -> "PlainEngine":
        self._opened.enter_context(self._loader)
        self._opened.enter_context(self._precision())
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()


def prepare(
    name: CellEngine, programs: Programs, program: str, function: Callable, *args: Any, **jit_options: Any
) -> Callable:
    """`function` of pytrees like `args` as an engine runs it: of "jit" compiled ahead, as one of `programs`.

    Args:
        name: "op", "traced" or "jit".
        jit_options: of `jax.jit`, such as `donate_argnums`; the others have no use for them.
    """
    if name == "op":
        return function
    if name == "jit":
        return programs.compile(program, function, *args, **jit_options)
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    operations, tree = compat.as_function(jaxpr), jax.tree.structure(shapes)
    return lambda *args: jax.tree.unflatten(tree, operations(*jax.tree.leaves(args)))


def to_device(batch: Batch) -> Batch:
    """A host batch as JAX arrays."""
    parts: Any = map(jnp.asarray, batch)
    return Batch(*parts)
