"""Doors to what Flax does not promise."""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


def draw_keys(keys: Key[Array, " n"], paths: Sequence[str]) -> Key[Array, "n paths"]:
    """What Flax's `make_rng` would draw of each key in submodules at these paths, but all at once: drawn one by one,
    each is small kernels of its own on a GPU. Flax's, so that masks are those of the committed records.

    Relies on how Flax folds a path and a count into a key. Seen with flax 0.12.8 and 0.12.12.
    """
    digests = [hashlib.sha1(path.replace("/", "").encode() + b"\x01").digest() for path in paths]
    data = jnp.array([int.from_bytes(digest[:4]) for digest in digests], jnp.uint32)
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, data)
