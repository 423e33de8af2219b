"""The pure train and evaluation steps. They know nothing of how they are executed."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from jaxcompare.data.batch import Batch

Params = Any  # a pytree of arrays
T = TypeVar("T")


class TrainState(NamedTuple):
    """Everything that a step changes."""

    params: Params
    opt_state: optax.OptState
    step: Int[Array, ""]
    """Optimiser steps taken: with `key`, decides the dropout masks of the next."""
    key: Key[Array, ""]


class Metrics(NamedTuple):
    """Of one batch; padding does not count."""

    loss: Float[Array, ""]
    """Mean cross-entropy over the batch, in nats."""
    correct: Float[Array, ""]
    """Examples whose largest logit is the label's."""


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, key: Key[Array, ""], images: Array | np.ndarray
) -> TrainState:
    """A fresh state. `images` gives the shape the parameters are made for; its values do not matter."""
    params_key, dropout_key = jax.random.split(key)
    params = model.init(params_key, images, train=False)["params"]
    return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), dropout_key)


def sum_losses(logits: Float[Array, "n classes"], batch: Batch) -> Float[Array, ""]:
    """Cross-entropy summed over the examples that count."""
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels) * batch.mask)


def count_correct(logits: Float[Array, "n classes"], batch: Batch) -> Float[Array, ""]:
    """Number of examples that count and are classified right."""
    return jnp.sum((jnp.argmax(logits, axis=-1) == batch.labels) * batch.mask)


def sum_over_slices(function: Callable[[Array, Batch], T], batch: Batch, slice_size: int | None) -> T:
    """Sum `function(i, slice i)`, a pytree of arrays, over slices of at most `slice_size` examples, one after another.

    A sum over a batch is the sum over its slices, so this changes rounding only. What it buys is locality: a slice's
    activations stay in a CPU's cache, where a whole batch's would stream through memory. None: the batch is one slice.
    """
    examples = len(batch.labels)
    if slice_size is None or slice_size >= examples:
        return function(jnp.zeros((), jnp.int32), batch)
    count = -(-examples // slice_size)
    size = -(-examples // count)

    def split(x: Array) -> Array:
        padding = [(0, count * size - examples)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])

    items = (jnp.arange(count), jax.tree.map(split, batch))
    shapes = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], items))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def add(total: T, item: tuple[Array, Batch]) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, function(*item)), None

    return jax.lax.scan(add, zeros, items)[0]


def build_train_step(
    model: nn.Module, tx: optax.GradientTransformation, slice_size: int | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The train step: one optimiser update from one batch. Pure, so it can be jitted, scanned or vmapped.

    The loss is the mean over the examples that count, as PyTorch's `cross_entropy` is over a batch without padding.
    `slice_size`: see `sum_over_slices`; each slice draws dropout masks of its own.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def loss_fn(params: Params, index: Array, part: Batch) -> tuple[Array, Array]:
            rngs = {"dropout": jax.random.fold_in(key, index)}
            logits, _ = model.apply({"params": params}, part.images, train=True, rngs=rngs)
            return sum_losses(logits, part), count_correct(logits, part)

        def grad_fn(index: Array, part: Batch) -> tuple[tuple[Array, Array], Params]:
            return jax.value_and_grad(loss_fn, has_aux=True)(state.params, index, part)

        (loss, correct), grads = sum_over_slices(grad_fn, batch, slice_size)
        examples = jnp.sum(batch.mask)
        grads = jax.tree.map(lambda g: g / examples, grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1, state.key), Metrics(loss / examples, correct)

    return train_step


def build_eval_step(model: nn.Module, slice_size: int | None = None) -> Callable[[Params, Batch], Float[Array, ""]]:
    """The evaluation step: correct predictions in one batch, dropout off."""

    def eval_step(params: Params, batch: Batch) -> Float[Array, ""]:
        def correct(_: Array, part: Batch) -> Array:
            return count_correct(model.apply({"params": params}, part.images, train=False)[0], part)

        return sum_over_slices(correct, batch, slice_size)

    return eval_step
