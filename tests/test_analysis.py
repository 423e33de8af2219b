"""From records to numbers and sentences: what the data show is said, and nothing else."""

import dataclasses
import json
import re

import numpy as np
import pytest
import synthetic
from scipy import stats

from jaxcompare.analysis.data_efficiency import METRICS, analyse, build_sweep, summarise_sweep
from jaxcompare.analysis.outcome import change_over_sizes, find_outcome, leader_at
from jaxcompare.analysis.predictions import score_predictions
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.records import Prediction
from jaxcompare.report.answers import answer_questions, verdict

SIZES = (1000, 10_000, 100_000)


def means(*values):
    return dict(zip(SIZES, values, strict=True))


CNN_WINS = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5))
VIT_WINS = synthetic.sweep(means(0.3, 0.4, 0.5), means(0.5, 0.6, 0.7))
CROSSOVER = synthetic.sweep(means(0.5, 0.6, 0.65), means(0.3, 0.5, 0.75))
UNDECIDED = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.5, 0.6, 0.7), spread=0.03)
ONE_SEED = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5), seeds=1)


def efficiency_of(records):
    return analyse(build_sweep(records))


def said(comparison, records):
    """Everything that is said of the records, in one string."""
    efficiency = efficiency_of(records) if records else None
    answers = answer_questions(comparison, efficiency)
    return " ".join([*verdict(comparison, efficiency), *(f"{a.question} {a.answer} {a.evidence}" for a in answers)])


def test_a_sweep_is_paired_by_seed_and_in_order():
    sweep = build_sweep(CROSSOVER[::-1])
    assert (sweep.models, sweep.sizes, sweep.seeds) == (("cnn", "vit"), SIZES, (0, 1, 2, 3, 4))
    values = sweep.values("vit", METRICS["best"])
    assert values.shape == (5, 3)
    np.testing.assert_allclose(values[:, 1], 0.5 - 0.004 * np.array([-1, 0, 1, 2, -2]))
    efficiency = analyse(sweep)
    np.testing.assert_allclose([d.mean for d in efficiency.difference], [0.2, 0.1, -0.1])
    # Errors of 40 and 50 % at 10,000, of 35 and 25 % at 100,000: straight lines in log-log meet there.
    images = sweep.first.test_images
    counted = {error: (images * error + 0.5) / (images + 1) for error in (0.25, 0.35, 0.4, 0.5)}
    ahead, behind = np.log(counted[0.5] / counted[0.4]), np.log(counted[0.35] / counted[0.25])
    meeting = 10 ** (4 + ahead / (ahead + behind))
    assert efficiency.crossover.size == pytest.approx(meeting, rel=1e-3)
    assert 10_000 < efficiency.crossover.interval.low < meeting < efficiency.crossover.interval.high < 100_000
    final = analyse(sweep, "final")
    assert final.accuracy["cnn"][0].mean == pytest.approx(efficiency.accuracy["cnn"][0].mean - 0.01)


def test_runs_without_a_partner_are_left_out_and_named():
    running = dataclasses.replace(CROSSOVER[0], status="interrupted")  # the CNN's seed 0 at the smallest size
    other_seed = synthetic.run("cnn", 1000, 9, 0.5)
    sweep = build_sweep([running, other_seed, *CROSSOVER[1:]])
    assert sweep.seeds == (1, 2, 3, 4)
    assert "cnn, 1,000 images, seed 0: interrupted" in sweep.left_out
    assert "vit, 1,000 images, seed 0: not at every size for every model" in sweep.left_out
    assert "cnn, 1,000 images, seed 9: not at every size for every model" in sweep.left_out
    alone = build_sweep([*CROSSOVER, synthetic.run("cnn", 500, 0, 0.4)])
    assert alone.sizes == SIZES
    assert alone.left_out == ("cnn, 500 images, seed 0: not at every size for every model",)


def test_runs_that_are_no_sweep_are_refused():
    short = dataclasses.replace(CROSSOVER[0].config, training=TrainingConfig(epochs=5))
    with pytest.raises(InputError, match="epochs is 2 in one, 5 in another"):
        build_sweep([*CROSSOVER[1:], dataclasses.replace(CROSSOVER[0], config=short)])
    with pytest.raises(InputError, match="several runs from seed 0"):
        build_sweep([*CROSSOVER, CROSSOVER[0]])
    with pytest.raises(InputError, match="no seed is complete"):
        build_sweep([synthetic.run("cnn", 1000, 0, 0.5), synthetic.run("vit", 1000, 1, 0.5)])


def test_the_order_of_records_changes_no_number():
    shuffled = list(CROSSOVER)
    np.random.default_rng(0).shuffle(shuffled)
    assert json.dumps(summarise_sweep(build_sweep(shuffled))) == json.dumps(summarise_sweep(build_sweep(CROSSOVER)))


@pytest.mark.parametrize(
    ("records", "leads", "changes"),
    [
        (CNN_WINS, ["cnn"] * 3, []),
        (VIT_WINS, ["vit"] * 3, []),
        (UNDECIDED, [None] * 3, []),
        (CROSSOVER, ["cnn", "cnn", "vit"], [[10_000, 100_000, "vit"]]),
    ],
)
def test_the_summary_has_leads_changes_and_where(records, leads, changes):
    summary = json.loads(json.dumps(summarise_sweep(build_sweep(records)), allow_nan=False))
    crossover = summary["best"]["crossover"]
    assert (crossover["leads"], crossover["changes"]) == (leads, changes)
    if changes:
        low, high = crossover["interval"]
        assert 10_000 < low < crossover["size"] < high < 100_000
    else:
        assert (crossover["size"], crossover["interval"]) == (None, None)


def test_summary_holds_means_intervals_times_and_laws():
    summary = summarise_sweep(build_sweep(CROSSOVER))
    assert summary["best"]["accuracy"]["cnn"]["1000"]["mean"] == pytest.approx(0.5)
    low, high = summary["best"]["accuracy"]["cnn"]["1000"]["interval"]
    assert 0.48 < low < 0.5 < high < 0.52
    assert summary["training_time_s"] == {
        "cnn": {"1000": 2.0, "10000": 20.0, "100000": 200.0},
        "vit": {"1000": 10.0, "10000": 100.0, "100000": 1000.0},
    }
    slope = stats.linregress(np.log(SIZES), np.log([0.5, 0.4, 0.35])).slope
    assert summary["best"]["power_law"]["cnn"]["b"] == pytest.approx(-slope, rel=1e-2)
    elsewhere = [dataclasses.replace(r, environment=r.environment | {"cpu": "another"}) for r in CROSSOVER[:1]]
    assert summarise_sweep(build_sweep([*elsewhere, *CROSSOVER[1:]]))["training_time_s"]["cnn"]["1000"] is None


def test_two_sizes_have_no_power_law_and_one_no_crossover():
    two = efficiency_of([r for r in CROSSOVER if r.train_images < 100_000])
    assert two.power_law == {}
    assert two.extrapolated is None
    assert two.crossover.leads == ("cnn", "cnn")
    one = [r for r in CROSSOVER if r.train_images == 1000]
    assert efficiency_of(one).crossover is None
    assert "it cannot be said" in said([], one)


# Sentences: each outcome is said where the data show it, and in no other.

OUTCOMES = {
    "cnn": (CNN_WINS, r"[Tt]he CNN is ahead at 1,000, 10,000 and 100,000 images"),
    "vit": (VIT_WINS, r"[Tt]he ViT is ahead at 1,000, 10,000 and 100,000 images"),
    "crossover": (CROSSOVER, r"at about 26,000 \(95 % interval [\d,]+ to"),
    "undecided": (UNDECIDED, r"[Nn]o lead is shown at 1,000, 10,000 and 100,000 images"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_said_of_its_own_records_only(outcome):
    _, pattern = OUTCOMES[outcome]
    for name, (records, _) in OUTCOMES.items():
        assert bool(re.search(pattern, said([], records))) is (name == outcome), name


def test_what_is_said_of_catching_up():
    for decided in (CNN_WINS, VIT_WINS):
        assert "below 1,000 or beyond 100,000 images" in said([], decided)
        assert "takes the lead" not in said([], decided)
    assert [leader_at(efficiency_of(UNDECIDED), place) for place in range(3)] == [None] * 3
    assert [leader_at(efficiency_of(CROSSOVER), place) for place in range(3)] == ["cnn", "cnn", "vit"]
    assert "The ViT takes the lead between 10,000 and 100,000 images" in said([], CROSSOVER)
    reversed_ = synthetic.sweep(means(0.3, 0.5, 0.75), means(0.5, 0.6, 0.65))
    assert "The ViT takes the lead between" not in said([], reversed_)
    signs = [change_over_sizes(efficiency_of(records)).sign for records in (CROSSOVER, CNN_WINS, reversed_, ONE_SEED)]
    assert signs == [-1, 0, 1, None]


def test_one_seed_has_no_interval_and_says_so():
    text = said(synthetic.comparison(), ONE_SEED)
    assert "95 %" not in text
    assert text.count("one seed, no interval") >= 3


def test_the_verdict_has_numbers_and_follows_the_winner():
    lines = verdict(synthetic.comparison(), efficiency_of(CNN_WINS))
    assert len(lines) == 3
    assert re.findall(r"[\d.]+ %", lines[0]) == ["75.00 %", "65.00 %"]
    assert lines[0].startswith("The CNN came out ahead")
    assert re.findall(r"\d+\.\d+", lines[1]) == ["5.0", "50.0", "10.0", "1.30"]
    assert lines[1].startswith("The ViT takes")
    turned = verdict(synthetic.comparison(0.65, 0.75, cnn_time_s=50.0, vit_time_s=10.0), None)
    assert turned[0].startswith("The ViT came out ahead: 75.00 % against 65.00 %")
    assert turned[1].startswith("The CNN takes 5.0 times")
    assert verdict([], None) == []


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_finding_says_of_which_images_and_epochs(seeds):
    line, *_ = verdict(synthetic.comparison(seeds=seeds), None)
    for needed in ("1,000 training images", "2 epochs", "chosen on the test images"):
        assert line.count(needed) == 1
    assert ("one seed" in line) is (seeds == 1)
    assert len(line.split()) <= 32
    sweep = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5), seeds=seeds)
    fixed = [dataclasses.replace(r, config=dataclasses.replace(r.config, epoch_images=500)) for r in sweep]
    assert "2 epochs of 500 images" in answer_questions([], efficiency_of(fixed))[0].evidence


def test_several_seeds_decide_by_their_interval():
    outcome = find_outcome(synthetic.comparison(seeds=3))
    assert (outcome.leader(), outcome.difference().mean) == ("cnn", pytest.approx(0.1))
    assert outcome.accuracy() == {"cnn": pytest.approx(0.752), "vit": pytest.approx(0.652)}
    assert "The CNN is more accurate" in said(synthetic.comparison(seeds=3), None)
    assert find_outcome(level()).leader() is None
    assert "undecided which is more accurate" in said(level(), None)


def level():
    """Two seeds that do not decide."""
    records = synthetic.comparison(0.7, 0.7, seeds=2)
    return [synthetic.run("cnn", 1000, 0, 0.9, experiment="full_comparison", time_s=10.0), *records[1:]]


def test_times_that_were_not_measured_alike_are_not_compared():
    records = synthetic.comparison()
    records[0] = dataclasses.replace(records[0], environment=records[0].environment | {"cpu": "another"})
    assert find_outcome(records).faster is None
    assert "not measured alike" in said(records, None)
    assert "times as long" not in said(records, None)


@pytest.mark.parametrize(
    ("test", "training", "why"),
    [
        ((0.75, 0.65), (0.8, 0.6), "both or dropout"),  # dropout lowers the ViT's accuracy in training
        ((0.75, 0.65), (0.9, 0.9), "test alone"),
        ((0.75, 0.65), (0.6, 0.8), "generalises less"),
        ((0.65, 0.75), (0.6, 0.8), "both"),
        ((0.65, 0.75), (0.8, 0.6), "generalises less or dropout"),
        ((0.7, 0.7), (0.8, 0.6), "no difference"),
    ],
)
def test_why_follows_where_the_difference_arises(test, training, why):
    trained = dict(zip(("cnn", "vit"), training, strict=True))
    records = [
        dataclasses.replace(r, history=with_training(r, trained[r.config.model])) for r in synthetic.comparison(*test)
    ]
    assert find_outcome(records).why == why
    (answer,) = [one.answer for one in answer_questions(records, None) if one.question == "Why?"]
    assert ("not decided" in answer) is ("dropout" in why)
    assert ("generalises less." in answer) is (why == "generalises less")


def with_training(record, accuracy):
    return dataclasses.replace(record.history, train_accuracy=[0.1, accuracy])


def test_the_take_away_weighs_accuracy_and_time():
    def take_away(records):
        return answer_questions(records, None)[-1].answer

    assert "by 10.00 points, and takes less time" in take_away(synthetic.comparison())
    assert take_away(synthetic.comparison(0.65, 0.75, seeds=3)).startswith("It is a trade: the ViT is more accurate")
    assert take_away(level()).startswith("Accuracy does not decide between them; the CNN takes less time")


def test_the_recipes_five_questions_are_answered():
    questions = [a.question for a in answer_questions(synthetic.comparison(), efficiency_of(CROSSOVER))]
    assert [question.split(" ")[0] for question in questions] == ["Which", "Which", "At", "Why?", "What"]


def predicted(records, prediction):
    return [dataclasses.replace(record, prediction=prediction) for record in records]


def test_predictions_are_scored_by_what_was_measured():
    prediction = Prediction("vit", "cnn", 4.0, "because")
    (score,) = score_predictions(predicted(synthetic.comparison(), prediction))
    assert (score.more_accurate_is_right, score.faster_is_right) == (False, True)
    assert score.gap_error_points == pytest.approx(-6.0)
    (turned,) = score_predictions(predicted(synthetic.comparison(0.65, 0.75, vit_time_s=1.0), prediction))
    assert (turned.more_accurate_is_right, turned.faster_is_right) == (True, False)
    assert score_predictions(synthetic.comparison()) == []


def test_what_was_not_measured_scores_nothing():
    records = predicted(synthetic.comparison(), Prediction("cnn", "cnn", 1.0))
    records[0] = dataclasses.replace(records[0], environment=records[0].environment | {"cpu": "another"})
    (score,) = score_predictions(records)
    assert (score.more_accurate_is_right, score.faster_is_right) == (True, None)
    (alone,) = score_predictions(records[:1])
    assert (alone.more_accurate_is_right, alone.faster_is_right, alone.gap_error_points) == (None, None, None)
    (tied,) = score_predictions(predicted(synthetic.comparison(0.7, 0.7), Prediction("cnn", "cnn", 1.0)))
    assert tied.more_accurate_is_right is None


# Odd records: what cannot decide, does not.


def finals(records, **by_model_):
    """The same records with other accuracies after the last epoch."""
    return [
        dataclasses.replace(
            r,
            history=dataclasses.replace(
                r.history, test_accuracy=[r.history.test_accuracy[0], by_model_[r.config.model]]
            ),
        )
        for r in records
    ]


def test_runs_that_did_not_come_to_their_end_decide_nothing():
    records = synthetic.comparison(seeds=3)
    lost = [*records[:-1], dataclasses.replace(records[-1], status="diverged")]
    assert find_outcome(lost).seeds == 2
    assert find_outcome(lost).difference().mean == pytest.approx(0.1)
    stopped = [dataclasses.replace(r, status="interrupted") for r in synthetic.comparison()]
    assert find_outcome(stopped) is None
    (only,) = verdict(stopped, None)
    assert only.count("interrupted after 2 of 2 epochs") == 2
    assert "no run of the ViT" in verdict(synthetic.comparison()[:1], None)[0]


def test_a_last_epoch_that_says_otherwise_is_said():
    assert "after the last" not in verdict(synthetic.comparison(), None)[0]
    turned = finals(synthetic.comparison(), cnn=0.5, vit=0.6)
    assert (find_outcome(turned).leader(), find_outcome(turned).leader("final")) == ("cnn", "vit")
    assert "after the last, the ViT came out ahead: 60.00 % against 50.00 % (-10.00 points" in verdict(turned, None)[0]
    # Decided by the best epoch alone.
    scattered = [
        dataclasses.replace(
            r, history=dataclasses.replace(r.history, test_accuracy=[r.best_test_accuracy, 0.6 + offset])
        )
        for r, offset in zip(synthetic.comparison(seeds=3), (0.03, 0, -0.03, 0, -0.02, 0.02), strict=True)
    ]
    line = verdict(scattered, None)[0]
    assert line.startswith("The CNN is more accurate")
    assert "after the last, it is undecided which is more accurate: CNN 60.00 %, ViT 60.00 %" in line


def test_why_is_about_the_last_epoch_on_both_sides():
    records = finals(synthetic.comparison(), cnn=0.5, vit=0.6)
    assert find_outcome(records).why == "test alone"
    (why,) = [a for a in answer_questions(records, None) if a.question == "Why?"]
    assert "-10.00 points" in why.evidence


def test_a_crossover_that_nothing_bounds_is_not_stated():
    text = said([], UNDECIDED)
    assert "A change of lead is neither shown nor ruled out." in text
    assert "takes the lead" not in text
    assert "interval of the crossover" not in text


def test_predictions_follow_the_verdict_where_it_is_undecided():
    (score,) = score_predictions(predicted(level(), Prediction("cnn", "cnn", 1.0)))
    assert score.more_accurate_is_right is None
    assert score.gap_error_points is not None


def test_the_largest_block_of_runs_is_kept():
    lone = [synthetic.run(model, 500, 9, 0.4) for model in ("cnn", "vit")]
    sweep = build_sweep([*CROSSOVER, *lone])
    assert (sweep.sizes, len(sweep.seeds)) == (SIZES, 5)
    short = [synthetic.run(model, 500, 0, 0.4) for model in ("cnn", "vit")]
    assert build_sweep([*CROSSOVER, *short]).sizes == SIZES


@pytest.mark.parametrize(
    "change",
    [
        lambda c: dataclasses.replace(c, execution=dataclasses.replace(c.execution, precision="bfloat16")),
        lambda c: dataclasses.replace(c, data=dataclasses.replace(c.data, subsets="independent")),
        lambda c: dataclasses.replace(c, training=dataclasses.replace(c.training, batch_size=7)),
        lambda c: dataclasses.replace(c, epoch_images=7),
    ],
)
def test_what_decides_a_number_is_part_of_the_recipe(change):
    with pytest.raises(InputError, match="different recipes"):
        build_sweep([dataclasses.replace(CROSSOVER[0], config=change(CROSSOVER[0].config)), *CROSSOVER[1:]])
    workers = dataclasses.replace(CROSSOVER[0].config.data, workers=2)
    build_sweep(
        [
            dataclasses.replace(CROSSOVER[0], config=dataclasses.replace(CROSSOVER[0].config, data=workers)),
            *CROSSOVER[1:],
        ]
    )


def test_difference_is_paired_by_seed_not_by_place():
    records = synthetic.comparison(seeds=3)
    assert said(records[::-1], None) == said(records, None)
    for record in (1, 4):  # seed 1 of both models, far from the others, alike in both
        records[record] = synthetic.run(
            records[record].config.model,
            1000,
            1,
            0.3 if record == 4 else 0.4,
            experiment="full_comparison",
            time_s=10.0,
        )
    assert "95 % interval +10.00 to +10.00" in said(records[:3] + records[:2:-1], None)
