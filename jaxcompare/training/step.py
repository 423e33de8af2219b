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


class Slicing(NamedTuple):
    """How a batch is summed: in slices of at most `size` examples one after another, on each device of an axis."""

    size: int | None = None
    """None: the batch is one slice."""
    axis: str | None = None
    """Mesh axis whose devices share the slices out; None: one device takes them all."""


WHOLE = Slicing()


def sum_over_slices(function: Callable[[Array, Batch], T], batch: Batch, slicing: Slicing) -> T:
    """Sum `function(i, slice i)`, a pytree of arrays, over the slices of a batch.

    A sum over a batch is the sum over its slices, so this changes rounding only. What it buys is locality: a slice's
    activations stay in a CPU's cache, where a whole batch's would stream through memory; and where each core is a
    device, cores work on slices of their own rather than on parts of one small matrix product.
    """
    examples = len(batch.labels)
    devices = jax.lax.axis_size(slicing.axis) if slicing.axis else 1
    size = min(slicing.size or examples, examples)
    if devices == 1 and size == examples:
        return function(jnp.zeros((), jnp.int32), batch)
    # Slices are the same for any number of devices, and so are their dropout masks; the last ones may be empty.
    count = count_slices(examples, size, devices)

    def split(x: Array) -> Array:
        padding = [(0, count * size - examples)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])

    items = (jnp.arange(count), jax.tree.map(split, batch))
    if slicing.axis:
        first = jax.lax.axis_index(slicing.axis) * (count // devices)
        items = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, count // devices), items)
    shapes = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], items))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def add(total: T, item: tuple[Array, Batch]) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, function(*item)), None

    total = jax.lax.scan(add, zeros, items)[0]
    return jax.lax.psum(total, slicing.axis) if slicing.axis else total


def count_slices(examples: int, size: int, devices: int) -> int:
    """Slices of `size` that a batch is cut into: whole ones, and as many for each device."""
    return math.ceil(math.ceil(examples / size) / devices) * devices


def build_train_step(
    model: nn.Module, tx: optax.GradientTransformation, slicing: Slicing = WHOLE
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The train step: one optimiser update from one batch. Pure, so it can be jitted, scanned or vmapped.

    The loss is the mean over the examples that count, as PyTorch's `cross_entropy` is over a batch without padding.
    `slicing`: see `sum_over_slices`; each slice draws dropout masks of its own.
    """

    compute_grads = build_gradient(model, slicing)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, metrics = compute_grads(state, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state, step=state.step + 1), metrics

    return train_step


def _build_loss_fn(model: nn.Module, state: TrainState) -> Callable[[Params, Array, Batch], tuple[Array, Array]]:
    """(params, slice's number, slice) -> summed loss and correct predictions, with the step's dropout."""
    key = jax.random.fold_in(state.dropout_key, state.step)

    def loss_fn(params: Params, index: Array, part: Batch) -> tuple[Array, Array]:
        rngs = {"dropout": jax.random.fold_in(key, index)}
        logits, _ = model.apply({"params": params}, part.images, train=True, rngs=rngs)
        return sum_losses(logits, part), count_correct(logits, part)

    return loss_fn


def build_loss(model: nn.Module, slicing: Slicing = WHOLE) -> Callable[[TrainState, Batch], Metrics]:
    """The train step's forward pass alone."""

    def compute_loss(state: TrainState, batch: Batch) -> Metrics:
        loss_fn = _build_loss_fn(model, state)
        loss, correct = sum_over_slices(lambda index, part: loss_fn(state.params, index, part), batch, slicing)
        return Metrics(loss / jnp.sum(batch.mask), correct)

    return compute_loss


def build_gradient(model: nn.Module, slicing: Slicing = WHOLE) -> Callable[[TrainState, Batch], tuple[Params, Metrics]]:
    """The train step but for its update: the gradient of the batch's mean loss, and its metrics."""

    def compute_grads(state: TrainState, batch: Batch) -> tuple[Params, Metrics]:
        loss_fn = _build_loss_fn(model, state)

        def grad_fn(index: Array, part: Batch) -> tuple[tuple[Array, Array], Params]:
            return jax.value_and_grad(loss_fn, has_aux=True)(state.params, index, part)

        (loss, correct), grads = sum_over_slices(grad_fn, batch, slicing)
        examples = jnp.sum(batch.mask)
        return jax.tree.map(lambda g: g / examples, grads), Metrics(loss / examples, correct)

    return compute_grads


def build_eval_step(model: nn.Module, slicing: Slicing = WHOLE) -> Callable[[Params, Batch], Float[Array, ""]]:
    """The evaluation step: correct predictions in one batch, dropout off."""

    def eval_step(params: Params, batch: Batch) -> Float[Array, ""]:
        def correct(_: Array, part: Batch) -> Array:
            return count_correct(model.apply({"params": params}, part.images, train=False)[0], part)

        return sum_over_slices(correct, batch, slicing)

    return eval_step
