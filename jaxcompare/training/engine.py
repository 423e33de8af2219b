"""What an engine is, and what those have in common whose states are stacked."""

import abc
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxcompare.compat import jax as compat
from jaxcompare.config import RunConfig
from jaxcompare.data.device import count_batches
from jaxcompare.data.split import Dataset
from jaxcompare.training.learner import Learner
from jaxcompare.training.programs import Programs
from jaxcompare.training.step import Metrics, TrainState

STEPS_IN_FLIGHT = 16
"""Dispatched steps that the device may be behind: enough that it never waits for Python, few enough that batches do not
pile up in its memory."""

OnStep = Callable[[int], None]


class Engine(abc.ABC):
    """A learner that can train: whatever it compiles ahead is compiled when it is made. Use as a context manager."""

    def __init__(self, learner: Learner):
        self.learner = learner
        self.programs = Programs(learner.precision, learner.placement.devices)
        self.first_step_time_s: list[float] = []
        """Takes the seconds of each step of the first epoch, waited for, where steps are not compiled ahead."""

    @abc.abstractmethod
    def init(self) -> TrainState:
        """A fresh state."""

    @abc.abstractmethod
    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        """Train on every batch of an epoch. Gives its buffers away: do not use `state` again.

        Returns:
            The new state; the metrics of each call; and the seconds that the device had nothing to do for want of a
            batch. Work may still be under way on the device: wait for it before reading a clock.
        """

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        """Release what the engine holds besides memory."""
        del exception


class StackedEngine(Engine):
    """Programs compiled ahead for one config. Axis 0 of every leaf of a state is the seed, also where there is one;
    metrics are (seeds, steps) a call."""

    seeds_per_call = 1
    """Of several seeds, how many are computed at once."""

    def __init__(self, config: RunConfig, learner: Learner, dataset: Dataset):
        super().__init__(learner)
        self.config = config
        self.epoch_images = config.epoch_images or config.data.train_size or len(dataset.train)
        self.batches = count_batches(self.epoch_images, config.training.batch_size)
        execution = config.execution
        sizes = {"step": 1, "chunk": execution.chunk_size, "epoch": self.batches}
        self.steps_per_call = min(sizes[execution.engine], self.batches)
        """How many batches one call covers, the last call of an epoch perhaps excepted."""
        self._seeds = learner.put_seeds()
        # It runs once: XLA's full effort would take a second longer than it saves.
        init, options = learner.placement.over_seeds(learner.init_one), compat.low_effort()
        self._init = self.programs.compile("init", init, self._seeds, compiler_options=options)
        self._gather = jax.jit(lambda tree: tree, out_shardings=learner.placement.replicated)

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of the execution beyond its config."""
        placement = self.learner.placement
        return {
            "seeds": len(self.learner.seeds),
            "devices": len(placement.devices),
            "processes": jax.process_count(),
            "seed_shards": placement.seed_shards,
            "slice_size": placement.micro_batch_size or placement.shard_size(self.config.training.batch_size),
            "conv_lowering": getattr(self.learner.model, "lowering", None),
            "planned_bytes": {name: sum(plan) for name, plan in self.programs.plans.items()},
        }

    def init(self) -> TrainState:
        """A fresh stacked state, one for each seed."""
        return self._init(self._seeds)

    def fetch(self, tree: Any) -> Any:
        """In host memory; in each process's, whatever of it lies on another's devices."""
        placement = self.learner.placement
        if placement.spans_processes and placement.seed_shards > 1:
            tree = self._gather(tree)
        return jax.device_get(tree)


class InFlight:
    """Keeps the device at most STEPS_IN_FLIGHT steps, and at least one call, behind the calls that were made."""

    def __init__(self, steps_per_call: int):
        self._calls: deque[Any] = deque()
        self._max = max(1, STEPS_IN_FLIGHT // steps_per_call)

    def add(self, results: Any) -> None:
        """Of a call that was made: arrays."""
        self._calls.append(results)
        if len(self._calls) > self._max:
            jax.block_until_ready(self._calls.popleft())

    def is_idle(self) -> bool:
        """Whether all that was given to the device is done. Does not wait for it."""
        return all(map(compat.is_ready, jax.tree.leaves(list(self._calls))))


def call_lengths(batches: int, steps_per_call: int) -> Sequence[int]:
    """Every number of batches that a call of an epoch covers: the usual one, and the last call's if it is shorter."""
    rest = batches % steps_per_call
    return (steps_per_call, rest) if rest else (steps_per_call,)


def train_name(length: int) -> str:
    """Of the program that trains on so many batches."""
    return f"train_{length}_steps" if length > 1 else "train_step"
