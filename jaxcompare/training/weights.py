"""The parameters that a run ended with, as a file: NumPy's .npz, an array a parameter, named as in Flax."""

import hashlib
import io
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcompare.config import InputError
from jaxcompare.lines import write_atomically
from jaxcompare.records import RunRecord
from jaxcompare.training.step import Params


def weights_path(folder: Path, record: RunRecord) -> Path:
    """Of a run whose records lie in `folder`."""
    config = record.config
    return folder / "weights" / f"{config.model}-{record.train_images}-seed{config.training.seed}.npz"


def save_weights(path: Path, params: Params) -> str:
    """Write one run's parameters, whole or not at all. Returns the file's SHA-256."""
    file = io.BytesIO()
    arrays = {"/".join(name): np.asarray(value) for name, value in flatten_dict(params).items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_atomically(path, file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


def load_weights(folder: Path, record: RunRecord) -> Params:
    """The parameters that a run ended with: nested dicts of float32 arrays, for `models.build_model(...).apply`.

    Args:
        folder: that of the file that holds the record.

    Raises:
        InputError: the run kept none, or its file is not what it wrote.
    """
    path = weights_path(folder, record)
    if "weights" not in record.execution:
        raise InputError(f"{path}: this run kept no weights; train it anew with --fresh, without --no-keep-weights")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != record.execution["weights"]:
        raise InputError(f"{path}: not the file that this run wrote; train it anew")
    arrays = np.load(io.BytesIO(content))
    return unflatten_dict({tuple(name.split("/")): arrays[name] for name in arrays.files})
