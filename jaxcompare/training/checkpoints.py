"""What a run has come to after an epoch, on disk: its state and its records, from which it goes on to the same numbers.

Kept by orbax, in the background, two at a time. A digest of the state stands beside it: a file that was cut off, or in
which a bit changed, is found out, and the checkpoint before it is taken.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcompare.config import InputError
from jaxcompare.lines import from_line, to_line
from jaxcompare.records import RunRecord, run_values
from jaxcompare.training.step import TrainState

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A program of one run or several, after an epoch."""

    epoch: int
    """Epochs done."""
    state: Any
    """A TrainState, stacked by seed: read, it lies where that of `like` does; kept, in host memory without keys."""
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

        # Its threads log the traceback of what they raise a step later.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        # Of several processes each reads for itself, and does not wait for the others.
        this = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process{this}"
        )
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, multiprocessing_options=alone, create=False)
        self._folder.mkdir(parents=True, exist_ok=True)
        return ocp.CheckpointManager(self._folder, options=options)

    def latest(self, like: TrainState) -> Checkpoint | None:
        """The latest that is whole; None without one.

        Args:
            like: a state of the same program, for the tree, the kind of its keys and the place of its arrays.
        """
        if not self._folder.exists():
            return None
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                content, records = self._read(epoch)
            except Exception as error:  # whatever a damaged file makes orbax raise
                reason = " ".join(str(error).split())[:100]
                text = f"{self._folder / str(epoch)}: damaged ({reason}); the checkpoint before it is taken, if any"
                warnings.warn(text, stacklevel=2)
                self._manager.delete(epoch)
            else:
                return Checkpoint(epoch, _from_bytes(content, like), [from_line(one, RunRecord) for one in records])
        return None

    def _read(self, epoch: int) -> tuple[bytes, list[str]]:
        """A state and its records, as they were written."""
        import orbax.checkpoint as ocp

        args = ocp.args.Composite(state=ocp.args.StandardRestore(), about=ocp.args.JsonRestore())
        found = self._manager.restore(epoch, args=args)
        content, records = found.state["bytes"].tobytes(), found.about["records"]
        if _digest(content, records) != found.about["digest"]:
            raise ValueError("its digest is another")
        return content, records

    def keep(self, epoch: int, state: TrainState, records: Sequence[RunRecord]) -> None:
        """After an epoch: written if it is time.

        Args:
            state: in host memory, without keys: see `without_keys`.

        Raises:
            InputError: this one cannot be written, or the one before could not; those before that stay.
        """
        self._kept, self._is_saved = Checkpoint(epoch, state, list(records)), False
        if time.monotonic() - self._saved_at >= self._every_s:
            self._save()

    def flush(self) -> None:
        """Have what was kept last on disk, however long ago the one before was written; after a failure, nothing."""
        if self._kept and jax.process_index() == 0:
            if not self._is_saved:
                self._save()
            with self._explained():
                self._manager.wait_until_finished()

    def remove(self) -> None:
        """The runs are complete."""
        if self._folder.exists():
            # Whether the last one could be written no longer matters.
            for end in (self._manager.wait_until_finished, self._manager.close):
                with contextlib.suppress(InputError), self._explained():
                    end()
            try:
                shutil.rmtree(self._folder)
            except OSError:  # orbax's threads may still write of what could not be written
                time.sleep(1)
                shutil.rmtree(self._folder)
            with contextlib.suppress(OSError):  # another program's are there
                self._folder.parent.rmdir()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever orbax raises is one line, and leaves nothing half-written."""
        try:
            yield
        except Exception as error:
            self._kept = None
            for part in self._folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(part, ignore_errors=True)
            number = re.search(r"os_error_code='(\d+)'", str(error))
            reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", "") or str(error)
            raise InputError(
                f"{self._folder}: a checkpoint cannot be written ({' '.join(reason.split())[:100]}); free space or "
                "choose another folder"
            ) from error

    def _save(self) -> None:
        """Process 0's is the one that stays."""
        import orbax.checkpoint as ocp

        assert self._kept
        if jax.process_index():
            return
        content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self._kept.state))
        records = [to_line(run_values(record)) for record in self._kept.records]
        about = {"digest": _digest(content, records), "records": records}
        # One array: of several, orbax leaves those unread that come after a damaged one, and says so in tracebacks.
        state = ocp.args.StandardSave({"bytes": np.frombuffer(content, np.uint8)})
        with self._explained():
            self._manager.save(self._kept.epoch, args=ocp.args.Composite(state=state, about=ocp.args.JsonSave(about)))
        self._saved_at, self._is_saved = time.monotonic(), True


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def without_keys(state: TrainState) -> Any:
    """Random keys as the integers that they are made of."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _from_bytes(content: bytes, like: TrainState) -> TrainState:
    leaves, start = [], 0
    for leaf, plain in zip(jax.tree.leaves(like), jax.tree.leaves(without_keys(like)), strict=True):
        values = np.frombuffer(content, plain.dtype, plain.size, start).reshape(plain.shape)
        start += values.nbytes
        there = jax.make_array_from_callback(values.shape, plain.sharding, values.__getitem__)
        leaves.append(jax.random.wrap_key_data(there) if _is_key(leaf) else there)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _digest(content: bytes, records: Sequence[str]) -> str:
    return hashlib.sha256(content + "".join(records).encode()).hexdigest()
