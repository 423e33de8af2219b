"""The command: trained first, from kept weights, and every mistake."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import full_comparison
import report
import representations
from jaxcompare.analysis.representations import COLUMNS, read_representations
from jaxcompare.config import InputError
from jaxcompare.data.datasets import load_dataset
from jaxcompare.records import load_records, save_records
from jaxcompare.representations.networks import check_runs, load_networks
from jaxcompare.representations.study import run_study

pytestmark = pytest.mark.slow  # the whole study, of four networks trained for it

DATA = ("--dataset", "digits", "--image-size", "8")
TINY = (*DATA, "--train-size", "60", "--batch-size", "32", "--epochs", "1")


@pytest.fixture(scope="module")
def finished(shallow, tmp_path_factory):
    """A study that trained its networks itself."""
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["representations.py", *TINY, "--images", "60", "--out", str(out)])
        representations.console.run(representations.Args, representations.main, representations.PRESETS)
    return out


def test_a_study_trains_what_it_needs_and_is_whole(finished):
    study = read_representations(finished)
    assert study.seeds == [42, 43]
    for name, frame in study.frames.items():
        numbers = frame.drop(columns=[c for c in ("strength", "theoretical") if c in frame]).select_dtypes("number")
        assert np.isfinite(numbers.to_numpy()).all(), name
    similarity = study.frames["similarity"]
    assert set(similarity.measure) == {"cka", "neighbours"}
    # Every network's layer has CKA 1 with itself, trained and not.
    block = study.block("cka", "cnn", "cnn", within=True)
    assert np.diag(block) == pytest.approx(1)
    assert list(block) == ["block_0", "block_1", "block_2", "hidden", "logits"]
    assert list(study.block("cka", "vit", "vit")) == ["embedding", "layer_0", "norm", "logits"]
    # Both right, the CNN alone, the ViT alone, none.
    maps, cases = study.pictures, [(True, True), (True, False), (False, True), (False, False)]
    right = zip(*(maps[f"{model}_predictions"] == maps["labels"] for model in ("cnn", "vit")), strict=True)
    assert [cases.index(case) for case in right] == list(maps["outcome"])
    probes = study.frames["probes"]
    assert set(probes[probes.model == "vit"].layer) > {"layer_0/class", "norm/class"}
    confusion = study.frames["confusion"].groupby(["model", "seed"]).images.sum()
    assert set(confusion) == {60}
    robust = study.frames["robustness"]
    runs = load_records(finished / "runs" / "runs.jsonl")
    assert len(runs) == 4
    assert set(robust[robust.step == 0].strength.isna()) == {True}
    used = json.loads((finished / "study.json").read_text())
    assert used["data_fingerprint"] == runs[0].data_fingerprint
    assert [run["weights"] for run in used["runs"]] == [run.execution["weights"] for run in runs]
    assert used["images"]["similarity"] == 60
    assert used["total_s"] >= max(used["seconds"].values()) > 0
    assert used["peak_bytes"] > 0


def test_accuracy_is_the_runs_own(finished):
    """All test images: what the study computes from the weights is what the runs computed."""
    data = load_records(finished / "runs" / "runs.jsonl")[0].config.data
    dataset = load_dataset(data)
    runs = load_records(finished / "runs" / "runs.jsonl")
    networks = load_networks(finished / "runs", runs, dataset)
    assert [(n.name, n.trained) for n in networks] == [
        (f"{model}-{seed}{end}", not end) for end in ("", "-untrained") for model in ("cnn", "vit") for seed in (42, 43)
    ]
    from jaxcompare.representations.forward import predict

    images = (dataset.test.images / 255 - dataset.statistics[0]) / dataset.statistics[1]
    for run, network in zip(runs, networks, strict=False):
        predicted = predict(network.module, network.params, images.astype(np.float32)).argmax(axis=1)
        # A tie in float32 may fall the other way in another program.
        found = float(np.mean(predicted == dataset.test.labels))
        assert found == pytest.approx(run.final_test_accuracy, abs=1.5 / len(dataset.test))


def test_a_study_of_kept_weights_repeats_its_numbers(finished, run_script, capsys, tmp_path):
    words = (representations, "--runs", finished / "runs", "--images", "60", "--out", tmp_path / "out")
    run_script(*words)
    written = (tmp_path / "out" / "study.json").stat().st_mtime_ns
    run_script(*words)
    assert "not repeated" in capsys.readouterr().out
    assert (tmp_path / "out" / "study.json").stat().st_mtime_ns == written
    for name in COLUMNS:
        first, again = (pd.read_csv(folder / f"{name}.csv") for folder in (finished, tmp_path / "out"))
        pd.testing.assert_frame_equal(first, again, rtol=1e-3, atol=1e-4)
    assert not (tmp_path / "out" / "runs").exists()
    report.main(report.Args((finished,), tmp_path / "report"))
    assert (tmp_path / "report" / "figures" / "figure15_maps.svg").exists()


def test_mistakes_are_one_line(finished, fail_script, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(finished / "runs", runs)

    def fail(*words):
        return fail_script(representations, "--runs", runs, "--out", tmp_path / "out", *words)

    assert "from 50 to the 360 test images there are, not 361" in fail("--images", "361")
    assert "from 50 to" in fail("--images", "49")
    assert "give --data-dir alone" in fail("--image-size", "16")
    assert "give --data-dir alone" in fail("--epochs", "3")
    weights = sorted((runs / "weights").iterdir())
    kept = weights[0].read_bytes()
    weights[0].write_bytes(weights[-1].read_bytes())
    assert f"{weights[0]}: not the file that this run wrote" in fail()
    weights[0].write_bytes(kept[:100])
    assert f"{weights[0]}: not the file that this run wrote" in fail()
    weights[0].unlink()
    assert f"{weights[0]}: cannot be read" in fail()
    records = load_records(runs / "runs.jsonl")
    (runs / "runs.jsonl").unlink()
    save_records(runs / "runs.jsonl", records[:3])
    assert "of two seeds or more, not of [42]" in fail()
    (runs / "runs.jsonl").write_text("{}\n")
    assert "runs.jsonl" in fail()
    assert not (tmp_path / "out").exists()
    dataset = load_dataset(records[0].config.data)
    found = check_runs(records[::-1], dataset, runs)
    in_order = [("cnn", 42), ("cnn", 43), ("vit", 42), ("vit", 43)]
    assert [(record.config.model, record.config.training.seed) for record in found] == in_order
    for there, change in (("images is", {"fingerprint": "0" * 64}), ("classes is 10", {"class_names": ("a", "b")})):
        with pytest.raises(InputError, match=f"{there}.*give the --data-dir of their images"):
            check_runs(records, dataclasses.replace(dataset, **change), runs)
    assert "holds study.json of another experiment" in fail_script(full_comparison, *DATA, "--out", finished)


def test_blank_networks_have_flat_curves_and_no_number_is_missing(finished):
    """Parameters of 0: constant layers, no gradient, no preference."""
    runs = load_records(finished / "runs" / "runs.jsonl")
    dataset = load_dataset(runs[0].config.data)
    networks = [
        dataclasses.replace(network, params=jax.tree.map(np.zeros_like, network.params))
        for network in load_networks(finished / "runs", runs, dataset)
    ]
    study = run_study(networks, dataset, 50, lambda *_: None)
    assert study.frames["robustness"].groupby(["model", "seed"]).accuracy.nunique().max() == 1
    assert len(study.frames["fields"]) == 0
    assert set(study.frames["similarity"].value) == {0}
    for name, frame in study.frames.items():
        numbers = frame.drop(columns=[c for c in ("strength", "theoretical") if c in frame]).select_dtypes("number")
        assert np.isfinite(numbers.to_numpy(float)).all(), name
    assert all(np.isfinite(array).all() for array in study.pictures.values())
