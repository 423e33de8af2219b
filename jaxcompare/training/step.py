"""The pure train and evaluation steps. They know nothing of how they are executed."""

import math
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
    """Optimiser steps taken: with `dropout_key`, decides the dropout masks of the next."""
    dropout_key: Key[Array, ""]
    data_key: Key[Array, ""]
    """With the epoch, decides the order and the augmentation of device-resident images."""


class Metrics(NamedTuple):
    """Of one batch, or of many along leading axes; padding does not count."""

    loss: Float[Array | np.ndarray, "..."]
    """Mean cross-entropy over the batch, in nats."""
    correct: Float[Array | np.ndarray, "..."]
    """Examples whose largest logit is the label's."""


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, key: Key[Array, ""], images: Array | np.ndarray
) -> TrainState:
    """A fresh state. `images` gives the shape the parameters are made for; its values do not matter."""
    params_key, dropout_key, data_key = jax.random.split(key, 3)
    params = model.init(params_key, images, train=False)["params"]
    return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), dropout_key, data_key)


def sum_losses(logits: Float[Array, "n classes"], batch: Batch) -> Float[Array, ""]:
    """Cross-entropy summed over the examples that count, in at least float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels) * batch.mask)


def count_correct(logits: Float[Array, "n classes"], batch: Batch) -> Float[Array, ""]:
    """Number of examples that count and are classified right."""
    return jnp.sum((jnp.argmax(logits, axis=-1) == batch.labels) * batch.mask)


class MicroBatching(NamedTuple):
    """How a batch is summed: in parts of at most `size` examples one after another, on each device of an axis."""

    size: int | None = None
    """None: a device's part of the batch is one micro-batch."""
    axis: str | None = None
    """Mesh axis along which devices hold parts of the batch, all of one size; None: one device holds all of it."""


WHOLE = MicroBatching()


def sum_over_micro_batches(
    function: Callable[[Int[Array, ""], Batch], T], batch: Batch, micro_batching: MicroBatching
) -> T:
    """Sum `function(place of the first example, micro-batch)`, a pytree of arrays, over the micro-batches of a batch.

    A sum over a batch is the sum over its micro-batches, so this changes rounding only. What it buys is locality: a
    micro-batch's activations stay in a CPU's cache, where a whole batch's would stream through memory; and where each
    core is a device, cores work on micro-batches of their own rather than on parts of one small matrix product.

    Args:
        batch: the calling device's part.
    """
    examples, axis = len(batch.labels), micro_batching.axis
    size = min(micro_batching.size or examples, examples)
    first = jax.lax.axis_index(axis) * examples if axis else jnp.zeros((), jnp.int32)
    total = function(first, batch) if size == examples else _scan(function, first, batch, size)
    return jax.lax.psum(total, axis) if axis else total


def _scan(function: Callable[[Int[Array, ""], Batch], T], first: Int[Array, ""], batch: Batch, size: int) -> T:
    examples = len(batch.labels)
    count = math.ceil(examples / size)

    def split(x: Array) -> Array:
        padding = [(0, count * size - examples)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])

    items = (first + size * jnp.arange(count), jax.tree.map(split, batch))
    shapes = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], items))

    def add(total: T, item: tuple[Array, Batch]) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, function(*item)), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, shapes), items)[0]


def build_train_step(
    model: nn.Module, tx: optax.GradientTransformation, micro_batching: MicroBatching = WHOLE
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The train step: one optimiser update from one batch. Pure, so it can be jitted, scanned or vmapped.

    The loss is the mean over the examples that count, as PyTorch's `cross_entropy` is over a batch without padding.
    `micro_batching`: see `sum_over_micro_batches`; it changes no dropout mask.
    """

    compute_grads = build_gradient(model, micro_batching)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, metrics = compute_grads(state, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state, step=state.step + 1), metrics

    return train_step


def _build_loss_fn(model: nn.Module, state: TrainState) -> Callable[[Params, Array, Batch], tuple[Array, Array]]:
    """(params, place of the first example, micro-batch) -> summed loss and correct predictions, with the step's
    dropout."""
    key = jax.random.fold_in(state.dropout_key, state.step)

    def loss_fn(params: Params, first: Array, part: Batch) -> tuple[Array, Array]:
        logits, _ = model.apply({"params": params}, part.images, train=True, first=first, rngs={"dropout": key})
        return sum_losses(logits, part), count_correct(logits, part)

    return loss_fn


def build_loss(model: nn.Module, micro_batching: MicroBatching = WHOLE) -> Callable[[TrainState, Batch], Metrics]:
    """The train step's forward pass alone."""

    def compute_loss(state: TrainState, batch: Batch) -> Metrics:
        loss_fn = _build_loss_fn(model, state)
        loss, correct = sum_over_micro_batches(
            lambda first, part: loss_fn(state.params, first, part), batch, micro_batching
        )
        return Metrics(loss / _count(batch, micro_batching), correct)

    return compute_loss


def build_gradient(
    model: nn.Module, micro_batching: MicroBatching = WHOLE
) -> Callable[[TrainState, Batch], tuple[Params, Metrics]]:
    """The train step but for its update: the gradient of the batch's mean loss, and its metrics."""

    def compute_grads(state: TrainState, batch: Batch) -> tuple[Params, Metrics]:
        loss_fn, params = _build_loss_fn(model, state), state.params
        if axis := micro_batching.axis:
            # Each device's own from here on, or JAX would sum every micro-batch's gradient over the devices.
            params = jax.tree.map(lambda x: jax.lax.pcast(x, axis, to="varying"), params)

        def grad_fn(first: Array, part: Batch) -> tuple[tuple[Array, Array], Params]:
            return jax.value_and_grad(loss_fn, has_aux=True)(params, first, part)

        (loss, correct), grads = sum_over_micro_batches(grad_fn, batch, micro_batching)
        examples = _count(batch, micro_batching)
        return jax.tree.map(lambda g: g / examples, grads), Metrics(loss / examples, correct)

    return compute_grads


def _count(batch: Batch, micro_batching: MicroBatching) -> Float[Array, ""]:
    """Examples of the whole batch that count."""
    examples = jnp.sum(batch.mask)
    return jax.lax.psum(examples, micro_batching.axis) if micro_batching.axis else examples


def build_eval_step(
    model: nn.Module, micro_batching: MicroBatching = WHOLE
) -> Callable[[Params, Batch], Float[Array, ""]]:
    """The evaluation step: correct predictions in one batch, dropout off."""

    def eval_step(params: Params, batch: Batch) -> Float[Array, ""]:
        def correct(_: Array, part: Batch) -> Array:
            return count_correct(model.apply({"params": params}, part.images, train=False)[0], part)

        return sum_over_micro_batches(correct, batch, micro_batching)

    return eval_step
