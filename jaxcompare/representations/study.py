"""The study of what the networks learned: every measure over the test images, as tidy frames."""

import dataclasses
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxcompare.analysis.representations import COLUMNS, PICTURES, STUDY
from jaxcompare.config import InputError
from jaxcompare.data.split import Dataset
from jaxcompare.lines import summary_json, write_atomically
from jaxcompare.representations.answer_frames import disagreement_frames, robustness_frame
from jaxcompare.representations.attention import patch_distances
from jaxcompare.representations.first_layers import cnn_filters, patch_components, position_similarity
from jaxcompare.representations.forward import patch_grid, predict
from jaxcompare.representations.layer_frames import probe_frame, similarity_frames
from jaxcompare.representations.look_frames import attention_frame, chosen_maps, deletion_frame, field_frame
from jaxcompare.representations.networks import Network

IMAGES = {
    "predictions": 10_000,
    "similarity": 2_000,
    "probes": 6_000,
    "attention": 1_000,
    "fields": 256,
    "deletion": 256,
    "robustness": 2_000,
}
"""Images that each measure takes, at most. The intervals are over seeds, to which the images left out would add next to
nothing; what has an interval over images, the classes, takes all."""

LEAST_IMAGES = 50

COMPONENTS = 28


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What was found; see `analysis.representations.Representations`."""

    frames: dict[str, pd.DataFrame]
    pictures: dict[str, np.ndarray]
    used: dict[str, Any]


def count_images(dataset: Dataset, asked: int | None) -> int:
    """How many test images a study takes: those asked for, else 10,000 or all there are.

    Raises:
        InputError: fewer images than asked for, or too few to measure.
    """
    total = len(dataset.test)
    count = min(IMAGES["predictions"], total) if asked is None else asked
    if not LEAST_IMAGES <= count <= total:
        raise InputError(f"--images: must be from {LEAST_IMAGES} to the {total} test images there are, not {count}")
    return count


def run_study(
    networks: Sequence[Network], dataset: Dataset, count: int, on_part: Callable[[str, float], None]
) -> Study:
    """Every measure of the networks, over `count` test images, drawn at random and the same for all.

    Args:
        networks: trained and untrained, of two seeds or more of both models.
        count: see `count_images`.
        on_part: called with a measure's name and its seconds, when it is done.
    """
    order = np.random.default_rng(0).permutation(len(dataset.test))[:count]
    pixels, labels = dataset.test.images[order].astype(np.float32) / 255, dataset.test.labels[order].astype(np.int64)
    mean, deviation = (np.asarray(values, np.float32) for values in dataset.statistics)
    images = (pixels - mean) / deviation
    trained = [network for network in networks if network.trained]
    some = {name: min(most, count) for name, most in IMAGES.items()} | {"predictions": count}
    seconds: dict[str, float] = {}
    frames: dict[str, pd.DataFrame] = {}

    def measure(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        found = function(*arguments)
        seconds[name] = time.perf_counter() - start
        on_part(name, seconds[name])
        return found

    def predict_all() -> dict[str, np.ndarray]:
        return {n.name: predict(n.module, n.params, images).argmax(axis=1) for n in trained}

    predictions = measure("predictions", predict_all)
    frames |= disagreement_frames(trained, labels, predictions, len(dataset.class_names))
    frames |= measure("similarity", similarity_frames, networks, images[: some["similarity"]])
    n = some["probes"]
    frames["probes"] = measure("probes", probe_frame, networks, images[:n], labels[:n])
    frames["attention"] = measure("attention", attention_frame, networks, images[: some["attention"]])
    frames["fields"] = measure("fields", field_frame, networks, images[: some["fields"]])
    frames["deletion"] = measure("deletion", deletion_frame, trained, images[: some["deletion"]], predictions)
    n = some["robustness"]
    arguments = (trained, pixels[:n], labels[:n], dataset.statistics)
    frames["robustness"] = measure("robustness", robustness_frame, *arguments)
    cnn, vit = (next(network for network in trained if network.model == model) for model in ("cnn", "vit"))
    rows, columns = patch_grid(vit.module, images)
    patch = images.shape[1] // rows
    untrained = next(network for network in networks if (network.model, network.trained) == ("vit", False))
    components, before = (patch_components(of.params, patch, COMPONENTS) for of in (vit, untrained))
    pictures = chosen_maps(cnn, vit, pixels, images, labels, predictions) | {
        "filters": cnn_filters(cnn.params),
        "components": components.filters,
        "explained": components.explained,
        "explained_untrained": before.explained,
        "positions": position_similarity(vit.params, rows, columns),
    }
    used = {
        "images": some,
        "class_names": list(dataset.class_names),
        "image_size": images.shape[1],
        "uniform_attention_pixels": float(patch_distances(rows, columns, patch).mean()),
        "seconds": seconds,
    }
    return Study({name: frames[name][list(columns)] for name, columns in COLUMNS.items()}, pictures, used)


def save_study(study: Study, out: Path, used: dict[str, Any]) -> None:
    """Write FRAME.csv, pictures.npz and, last, study.json.

    Args:
        used: what the experiment knows beside what the study does.
    """
    for name, frame in study.frames.items():
        write_atomically(out / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    file = io.BytesIO()
    # Maps and images need no more than half precision to be looked at.
    halves = {n: x.astype(np.float16) if x.dtype.kind == "f" else x for n, x in study.pictures.items()}
    np.savez_compressed(file, **halves)  # type: ignore[arg-type]
    write_atomically(out / PICTURES, file.getvalue())
    write_atomically(out / STUDY, summary_json(used | study.used))
