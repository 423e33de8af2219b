"""What a run has come to after an epoch, on disk: its state and its records, from which it goes on to the same numbers.

Kept by orbax, in the background, two at a time. A digest of the state stands beside it: a file that was cut off, or in
which a bit changed, is found out, and the checkpoint before it is taken.
"""

import dataclasses
import hashlib
import shutil
import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcompare.records import RunRecord, from_line, run_values, to_line
from jaxcompare.training.step import TrainState

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A program of one run or several, after an epoch."""

    epoch: int
    """Epochs done."""
    state: TrainState
    """NumPy arrays, stacked by seed."""
    records: list[RunRecord]
    """Of each seed, so far."""


class Checkpoints:
    """Those of one program, in a folder of their own, which is made with the first.

    Args:
        every_s: seconds from one to the next, at the end of an epoch.
    """

    def __init__(self, folder: Path, every_s: float = 60):
        self._folder, self._every_s = folder.resolve(), every_s
        self._saved_at, self._is_saved = time.monotonic(), True
        self._kept: Checkpoint | None = None

    @cached_property
    def _manager(self) -> Any:
        # Imported here: it takes most of a second.
        import orbax.checkpoint as ocp

        return ocp.CheckpointManager(self._folder, options=ocp.CheckpointManagerOptions(max_to_keep=KEPT))

    def latest(self, like: TrainState) -> Checkpoint | None:
        """The latest that is whole; None without one.

        Args:
            like: a state of the same program, for the tree and the kind of its keys.
        """
        if not self._folder.exists():
            return None
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._read(epoch, like)
            except Exception as error:  # whatever a damaged file makes orbax raise
                reason = " ".join(str(error).split())[:100]
                text = f"{self._folder / str(epoch)}: damaged ({reason}); the checkpoint before it is taken, if any"
                warnings.warn(text, stacklevel=2)
                self._manager.delete(epoch)
        return None

    def _read(self, epoch: int, like: TrainState) -> Checkpoint:
        import orbax.checkpoint as ocp

        args = ocp.args.Composite(state=ocp.args.StandardRestore(), about=ocp.args.JsonRestore())
        found = self._manager.restore(epoch, args=args)
        leaves = [found.state[f"{index:04}"] for index in range(len(found.state))]
        records = found.about["records"]
        if _digest(leaves, records) != found.about["digest"]:
            raise ValueError("its digest is another")
        placed = [
            jax.random.wrap_key_data(leaf) if jax.dtypes.issubdtype(of.dtype, jax.dtypes.prng_key) else leaf
            for leaf, of in zip(leaves, jax.tree.leaves(like), strict=True)
        ]
        state = jax.tree.unflatten(jax.tree.structure(like), placed)
        return Checkpoint(epoch, state, [from_line(record, RunRecord) for record in records])

    def keep(self, epoch: int, state: TrainState, records: Sequence[RunRecord]) -> None:
        """After an epoch: copied now, since the next one gives the state's buffers away; written if it is time."""
        self._kept, self._is_saved = Checkpoint(epoch, jax.device_get(_without_keys(state)), list(records)), False
        if time.monotonic() - self._saved_at >= self._every_s:
            self._save()

    def flush(self) -> None:
        """Have what was kept last on disk, however long ago the one before was written."""
        if self._kept:
            if not self._is_saved:
                self._save()
            self._manager.wait_until_finished()

    def remove(self) -> None:
        """The runs are complete."""
        if self._folder.exists():
            self._manager.wait_until_finished()
            self._manager.close()
            shutil.rmtree(self._folder)

    def _save(self) -> None:
        import orbax.checkpoint as ocp

        assert self._kept
        leaves = jax.tree.leaves(self._kept.state)
        state = ocp.args.StandardSave({f"{index:04}": np.asarray(leaf) for index, leaf in enumerate(leaves)})
        records = [to_line(run_values(record)) for record in self._kept.records]
        about = {"digest": _digest(leaves, records), "records": records}
        self._manager.save(self._kept.epoch, args=ocp.args.Composite(state=state, about=ocp.args.JsonSave(about)))
        self._saved_at, self._is_saved = time.monotonic(), True


def _without_keys(state: TrainState) -> Any:
    """Random keys as the integers that they are made of."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf,
        state,
    )


def _digest(leaves: Sequence[Any], records: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(records).encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
