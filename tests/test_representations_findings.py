"""What is said of a study follows its numbers, one way and the other."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_representations

import report
import representations
from jaxcompare.analysis.findings import Evidence, Finding, find, kappas
from jaxcompare.analysis.readings import readings
from jaxcompare.analysis.representations import COLUMNS, read_representations
from jaxcompare.analysis.statistics import estimate
from jaxcompare.config import InputError
from jaxcompare.report.learned import FIGURES, finding_sentences, learned_blocks, reading_sentences

ANSWERS = {1: "confirmed", -1: "contradicted", 0: "undecided"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    return {favour: synthetic_representations.write(root / f"{favour}", favour=favour) for favour in ANSWERS}


@pytest.mark.parametrize("favour", ANSWERS)
def test_every_claim_is_answered_by_the_numbers(folders, favour):
    study = read_representations(folders[favour])
    findings = find(study)
    assert {one.name: one.answer for one in findings} == {one.name: ANSWERS[favour] for one in findings}
    assert len(findings) == 6
    sentences = finding_sentences(study)
    assert all(line.startswith(ANSWERS[favour].capitalize()) for line in sentences[:-1])
    text = " ".join([*sentences, *reading_sentences(study).values()])
    assert not re.search(r"nan|None[^ ]| [,;.]|\binf\b", text)
    assert all(len(reading.split()) <= 75 for reading in reading_sentences(study).values())


def test_all_numbers_confirm_and_one_contradicts():
    above, below, open_, one_seed = (estimate(values) for values in ([1, 1.1], [-1, -1.1], [1, -1], [1]))
    for values, answer in (
        ([above, above], "confirmed"),
        ([above, open_], "undecided"),
        ([above, one_seed], "undecided"),
        ([above, below], "contradicted"),
        ([], "undecided"),
    ):
        assert Finding("", "", "", [Evidence("", value) for value in values]).answer == answer
    for values, answer in (
        ([above, below], "undecided"),
        ([above, above], "confirmed"),
        ([open_, below], "contradicted"),
    ):
        assert Finding("", "", "", [Evidence("", value) for value in values], measures=True).answer == answer


def test_readings_turn_with_the_numbers(folders):
    good, bad, none = (reading_sentences(read_representations(folders[favour])) for favour in (1, -1, 0))
    assert good["figure14_robustness"].startswith("The ViT keeps more of its accuracy under ")
    assert bad["figure14_robustness"].startswith("The CNN keeps more of its accuracy under ")
    assert none["figure14_robustness"].startswith("None of the corruptions")
    assert "these are faithful: the CNN's" in good["figure15_maps"]
    assert "none is shown to be more faithful" in bad["figure15_maps"]
    assert "depends on the architecture" in good["figure17_disagreement"]
    assert "not always more alike" in bad["figure17_disagreement"]
    assert "In every seed the CNN is more accurate on cat, the ViT on $x_1$." in good["figure17_disagreement"]
    assert "No class is shown" in none["figure17_disagreement"]


def test_what_a_reading_is_held_against(folders):
    """The best untrained layer, whichever it is; random pixels; both directions of likeness."""
    study = read_representations(folders[1])
    probes, deletion, similarity = (study.frames[name] for name in ("probes", "deletion", "similarity"))
    probes.loc[~probes.trained & (probes.layer == "block_0"), "accuracy"] = 0.65
    best = probes[probes.trained & (probes.model == "cnn")].groupby("layer").accuracy.mean().max()
    assert readings(study)["figure13_probes"]["gains"]["cnn"].mean == pytest.approx(best - 0.65)
    assert "Random pixels" not in reading_sentences(study)["figure15_maps"]
    deletion["at_random"] = 0.0
    assert "Random pixels cost more than those of the CNN's Grad-CAM" in reading_sentences(study)["figure15_maps"]
    across = (similarity.model == "cnn") & (similarity.other_model == "vit") & similarity.trained
    similarity.loc[across, "value"] = np.where(similarity.layer[across] == "block_0", 0.5, 0.1)
    likest = readings(study)["figure11_similarity"]["across"]
    layers = similarity.layer[across].nunique()
    assert likest["cnn"][0] == pytest.approx(0.1 + 0.4 / layers)
    assert likest["vit"][0] == pytest.approx(0.5)


def test_a_measure_that_does_not_identify_layers_concludes_nothing(tmp_path):
    study = read_representations(synthetic_representations.write(tmp_path, identified=0.4))
    assert study.trusted == []
    uniform = find(study)[0]
    assert (uniform.answer, uniform.evidence) == ("undecided", [])
    assert "not used for a conclusion" in reading_sentences(study)["figure11_similarity"]
    assert "Nothing was measured that could answer" in finding_sentences(study)[0]
    assert "closest ViT layer" not in reading_sentences(study)["figure11_similarity"]


def test_what_is_kept_is_of_a_networks_own_accuracy_above_chance(tmp_path):
    folder = synthetic_representations.write(tmp_path)
    path = folder / "robustness.csv"
    frame = pd.read_csv(path)
    # Of three classes. Flat: nothing is lost; at chance there is nothing to lose.
    frame.loc[frame.model == "cnn", "accuracy"] = np.where(frame.seed[frame.model == "cnn"] == 1, 1 / 3, 0.5)
    frame.loc[frame.model == "vit", "accuracy"] = 0.8 - 0.2 * frame.step[frame.model == "vit"]
    frame.to_csv(path, index=False)
    study = read_representations(folder)
    kept = study.kept[study.kept.model == "cnn"]
    assert kept.kept[kept.seed == 1].isna().all()
    assert set(kept.kept[kept.seed != 1]) == {1.0}
    lost = 0.2 * 2 / (0.8 - 1 / 3)  # steps 1 to 3
    assert study.kept[study.kept.model == "vit"].kept.to_numpy() == pytest.approx(1 - lost)
    area = study.kept_more["occlusion"]
    assert (area.mean, area.sign) == (pytest.approx(-lost), -1)


def test_equal_losses_above_chance_favour_neither(tmp_path):
    """Both lose the same share of what they have above chance, the CNN from higher up."""
    folder = synthetic_representations.write(tmp_path)
    path = folder / "robustness.csv"
    frame = pd.read_csv(path)
    start = np.where(frame.model == "cnn", 0.9, 0.6) + 0.01 * frame.seed * (-1) ** frame.seed
    frame["accuracy"] = 1 / 3 + (start - 1 / 3) * (1 - 0.3 * frame.step)
    frame.to_csv(path, index=False)
    study = read_representations(folder)
    assert [area.mean for area in study.kept_more.values()] == pytest.approx([0.0] * 6, abs=1e-12)


def test_a_kappa_is_of_all_images_and_its_interval_a_jackknifes(tmp_path):
    folder = synthetic_representations.write(tmp_path)
    path = folder / "agreement.csv"
    frame = pd.read_csv(path)
    own, left = frame.model == frame.other_model, frame.without
    frame["kappa"] = np.where(left == -1, 0.5, 0.501 + 0.001 * left) * own + 0.2 * ~own
    frame.to_csv(path, index=False)
    study = read_representations(folder)
    assert {name: set(values) for name, values in kappas(study).items()} == {"cnn": {0.5}, "vit": {0.5}, "both": {0.2}}
    (errors,) = (one for one in find(study) if one.name == "errors")
    # Of ten: 10 * 0.3 - 9 * (0.3 + i / 1000), i from 1 to 10.
    assert errors.evidence[0].value.mean == pytest.approx(0.3 - 9 * 0.0055)
    assert errors.evidence[0].value == errors.evidence[1].value


def test_the_page_has_a_section_and_every_figure(folders, tmp_path, capsys):
    study = read_representations(folders[1])
    document = tmp_path / "doc.md"
    names = tuple(FIGURES)
    document.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names))
    report.main(report.Args((folders[1],), tmp_path / "out", (document,)))
    page = (tmp_path / "out" / "report.html").read_text()
    for name in FIGURES:
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 10_000
        assert f'<figure id="{name}">' in page
    assert "What the two networks learned" in page
    assert all(sentence in html.unescape(page) for sentence in finding_sentences(study))
    blocks, text, printed = learned_blocks(study), document.read_text(), capsys.readouterr().out
    assert set(blocks) == {"findings", *FIGURES}
    assert all(block in printed for block in blocks.values())
    assert all(blocks[name] in text for name in names)


def test_a_study_of_no_weights_is_refused_before_training(fail_script, tmp_path):
    for words, named in (
        (["--no-keep-weights"], "--no-keep-weights"),
        (["--seeds", "1"], "--seeds: must be at least 2"),
        (["--runs", tmp_path / "typo"], "holds no runs.jsonl"),
        (["--checkpoint-every", "nan"], "--checkpoint-every"),
        (["--checkpoint-every", "-1"], "--checkpoint-every"),
    ):
        assert named in fail_script(representations, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "out").exists()


def test_a_damaged_study_is_refused(tmp_path, fail_script):
    folder = synthetic_representations.write(tmp_path / "study")
    assert "a second study" in fail_script(report, folder, folder, "--out", tmp_path / "out")
    for name, content, message in (
        ("probes.csv", "a,b\n1,2\n", f"not the columns {', '.join(COLUMNS['probes'])}"),
        ("pictures.npz", "no", "damaged"),
        ("study.json", "{", "damaged"),
    ):
        path = folder / name
        before = path.read_bytes()
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_representations(folder)
        path.write_bytes(before)
    (folder / "probes.csv").unlink()
    assert "probes.csv: cannot be read" in fail_script(report, folder, "--out", tmp_path / "out")
