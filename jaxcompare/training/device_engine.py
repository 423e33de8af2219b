"""The engine whose images live on the device."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcompare.compat import jax as compat
from jaxcompare.config import RunConfig
from jaxcompare.data.device import DeviceSplit, EpochPlan, plan_epoch, put_split, train_batch
from jaxcompare.data.split import Dataset
from jaxcompare.data.subsets import draw_subset
from jaxcompare.measure.memory import available_bytes
from jaxcompare.training.engine import InFlight, OnStep, StackedEngine, call_lengths, train_name
from jaxcompare.training.learner import Learner
from jaxcompare.training.step import Metrics, TrainState

MEMORY_SHARE = 0.9
"""Of the memory that is free, the part that a program of several seeds may be planned to take."""


class DeviceEngine(StackedEngine):
    """The training images in device memory; any number of seeds in one program, vmapped `seeds_per_call` at a time."""

    def __init__(self, config: RunConfig, learner: Learner, dataset: Dataset):
        super().__init__(config, learner, dataset)
        placement, first = learner.placement, np.int32(0)
        self._step = learner.build_train_step()
        self._split = put_split(dataset.train, dataset.statistics, placement.put)
        self._flip_probability = dataset.train.flip_probability
        subsets = [draw_subset(dataset.train.labels, config.data, seed) for seed in learner.seeds]
        self._subsets = placement.put_stacked(np.stack(subsets).astype(np.int32))
        states = self.init()
        most = len(learner.seeds) // placement.seed_shards
        if config.execution.engine == "epoch":
            args = (states, self._subsets, self._split, first)
            self.seeds_per_call, self._epoch = self._compile_to_fit("train_epoch", self._train_whole_epoch, most, *args)
        else:
            plan = placement.over_seeds(self._plan_one, stacked=2)
            self._plan = self.programs.compile("plan", plan, states, self._subsets, first)
            args = (states, self._plan(states, self._subsets, first), self._split, first)
            self.seeds_per_call, self._train = most, {}
            for length in call_lengths(self.batches, self.steps_per_call):
                function = functools.partial(self._train_batches, count=length)
                self.seeds_per_call, self._train[length] = self._compile_to_fit(
                    train_name(length), function, self.seeds_per_call, *args
                )

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"seeds_per_call": self.seeds_per_call}

    def _compile_to_fit(self, name: str, function: Callable, most: int, *args: Any) -> tuple[int, jax.stages.Compiled]:
        """Compile for as many seeds at a time as memory holds, `most` at most, and say how many that is."""
        placement = self.learner.placement
        usual = placement.seeds_at_once(len(self.learner.seeds))
        size = min(most, self.config.execution.seeds_per_call or usual)
        while True:
            try:
                mapped = placement.over_seeds(function, size, stacked=2)
                compiled = self.programs.compile(
                    name, mapped, *args, donate_argnums=0, out_shardings=(None, placement.readable)
                )
            except jax.errors.JaxRuntimeError as error:
                # Of several processes all have to run the same program.
                if placement.spans_processes or not compat.is_out_of_memory(error) or size == 1:
                    raise
                smaller = size // 2
            else:
                plan, room = self.programs.plans.get(name), available_bytes()
                # The arguments are in memory already.
                unknown = placement.spans_processes or plan is None or room is None
                if size == 1 or unknown or plan.more <= MEMORY_SHARE * room:
                    return size, compiled
                smaller = max(1, min(size - 1, int(size * MEMORY_SHARE * room / plan.more)))
            # Groups of equal size, or as nearly as can be: a smaller last group is a second body to compile.
            size = math.ceil(most / math.ceil(most / smaller))

    def _train_batches(
        self, state: TrainState, plan: EpochPlan, split: DeviceSplit, start: jax.Array, count: int
    ) -> tuple[TrainState, Metrics]:
        shard = self.learner.placement.shard(self.config.training.batch_size)

        def body(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            return self._step(state, train_batch(split, plan, index, shard))

        return jax.lax.scan(body, state, start + jnp.arange(count, dtype=jnp.int32))

    def _train_whole_epoch(
        self, state: TrainState, subset: jax.Array, split: DeviceSplit, epoch: jax.Array
    ) -> tuple[TrainState, Metrics]:
        return self._train_batches(state, self._plan_one(state, subset, epoch), split, jnp.int32(0), self.batches)

    def _plan_one(self, state: TrainState, subset: jax.Array, epoch: jax.Array) -> EpochPlan:
        size, examples = self.config.training.batch_size, self.epoch_images
        return plan_epoch(state.data_key, epoch, subset, size, self._flip_probability, examples)

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        if self.config.execution.engine == "epoch":
            state, metrics = self._epoch(state, self._subsets, self._split, np.int32(epoch))
            on_step(self.batches)
            return state, [metrics], 0.0
        queue = InFlight(self.steps_per_call)
        plans = self._plan(state, self._subsets, np.int32(epoch))
        metrics, done = [], 0
        while done < self.batches:
            length = min(self.steps_per_call, self.batches - done)
            state, call_metrics = self._train[length](state, plans, self._split, np.int32(done))
            metrics.append(call_metrics)
            done += length
            queue.add(call_metrics)
            on_step(done)
        return state, metrics, 0.0
