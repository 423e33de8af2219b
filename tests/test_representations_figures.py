"""The figures of what the networks learned show the frames' numbers."""

import dataclasses

import numpy as np
import pytest
import synthetic_representations

from jaxcompare.analysis.findings import kappas
from jaxcompare.analysis.representations import read_representations
from jaxcompare.report.answer_figures import disagreement_figure, robustness_figure
from jaxcompare.report.layer_figures import probe_figure, similarity_figure
from jaxcompare.report.learned import reading_sentences
from jaxcompare.report.look_figures import map_figure, reach_figure


@pytest.fixture
def study(tmp_path):
    """Trained and untrained, the CNN and the ViT differ in every number."""
    study = read_representations(synthetic_representations.write(tmp_path))
    frames = {name: frame.copy() for name, frame in study.frames.items()}
    frames["similarity"].loc[~frames["similarity"].trained, "value"] /= 2
    confusion = frames["confusion"]
    confusion.loc[(confusion.model == "vit") & (confusion.label == 0) & (confusion.prediction == 1), "images"] += 10
    return dataclasses.replace(study, frames=frames)


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return np.asarray(found.get_ydata(), float)


def test_similarities_are_their_blocks(study):
    axes = similarity_figure(study).axes
    for panel, (model, other, how) in {
        0: ("cnn", "cnn", {"within": True}),
        2: ("cnn", "vit", {}),
        4: ("vit", "vit", {}),
        5: ("cnn", "vit", {"trained": False}),
    }.items():
        np.testing.assert_allclose(axes[panel].images[0].get_array(), study.block("cka", model, other, **how))
    assert axes[5].images[0].get_array().max() <= 0.5


def test_probes_are_of_trained_and_untrained_networks(study):
    for axes, model in zip(probe_figure(study).axes, ("cnn", "vit"), strict=True):
        probes = study.frames["probes"]
        of = probes[(probes.model == model) & ~probes.layer.str.contains("/")]
        for label, trained in (("trained", True), ("untrained", False)):
            means = 100 * of[of.trained == trained].groupby("layer", sort=False).accuracy.mean()
            np.testing.assert_allclose(line(axes, label), means)


def test_heads_are_of_trained_and_untrained_networks(study):
    attention = reach_figure(study).axes[0]
    heads = study.frames["attention"]
    for label, trained in (("trained", True), ("untrained", False)):
        np.testing.assert_allclose(line(attention, label), heads[heads.trained == trained].pixels)


def test_curves_of_corrupted_images_are_accuracies(study):
    robustness = study.frames["robustness"]
    for axes, (_, rows) in zip(
        robustness_figure(study).axes, robustness.groupby("corruption", sort=False), strict=True
    ):
        for label, model in (("CNN", "cnn"), ("ViT", "vit")):
            means = 100 * rows[rows.model == model].groupby("step").accuracy.mean()
            np.testing.assert_allclose(line(axes, label), means)


def test_deletion_curves_are_the_maps_and_anothers(study):
    deletion = study.frames["deletion"]
    curves = [axes for axes in map_figure(study).axes if "deletion" in axes.get_title()]
    for axes, (model, own) in zip(curves, (("cnn", "Grad-CAM"), ("vit", "rollout")), strict=True):
        of = deletion[deletion.model == model]
        at_random = of.groupby("fraction").at_random.mean()
        np.testing.assert_allclose(line(axes, "random pixels"), at_random)
        for name in (own, "gradient"):
            means = of[of["map"] == name].groupby("fraction")[["by_map", "by_other"]].mean()
            np.testing.assert_allclose(line(axes, f"{name}, its largest first"), means.by_map)
            np.testing.assert_allclose(line(axes, f"{name} of another image"), means.by_other)


def test_confusions_are_the_cnns_less_the_vits(study):
    confusion, classes, kappa = disagreement_figure(study).axes
    # A seed a line, of which every class has its own interval.
    assert [drawn.get_label() for drawn in classes.containers] == [f"seed {seed}" for seed in study.seeds]
    of_first = study.frames["classes"][study.frames["classes"].seed == study.seeds[0]]
    shown = np.asarray(classes.containers[0][0].get_xdata(), float)
    np.testing.assert_allclose(shown, 100 * of_first.difference)
    difference = confusion.images[0].get_array()
    assert difference[0, 1] == pytest.approx(100 * (1 / 10 - 11 / 20))
    assert difference[1, 0] == 0
    assert [bar.get_height() for bar in kappa.patches] == pytest.approx([v.mean() for v in kappas(study).values()])


def test_networks_at_chance_have_figures_and_sentences_too(study):
    study.frames["robustness"]["accuracy"] = 1 / 3
    assert study.kept_more == {}
    assert all("not above chance" in axes.get_title() for axes in robustness_figure(study).axes)
    assert "In no seed are both above chance" in reading_sentences(study)["figure14_robustness"]
