"""From records to numbers and sentences: what the data show is said, and nothing else."""

import dataclasses
import json
import re

import numpy as np
import pytest
import synthetic
from scipy import stats

from jaxcompare.analysis.conclusions import answer_questions, verdict
from jaxcompare.analysis.data_efficiency import METRICS, analyse, build_sweep, summarise_sweep
from jaxcompare.analysis.predictions import score_predictions
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.records import Prediction

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
    # A tenth at 10,000 and minus a tenth at 100,000: half-way in the logarithm.
    assert efficiency.crossover.size == pytest.approx(10**4.5)
    assert 10_000 < efficiency.crossover.interval.low < 10**4.5 < efficiency.crossover.interval.high < 100_000
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
    ("records", "found", "interval"),
    [
        (CNN_WINS, "not caught up", [100_000, None]),
        (VIT_WINS, "never behind", [None, 1000]),
        (UNDECIDED, "never behind", [None, None]),
    ],
)
def test_bounds_of_a_crossover_that_is_not_there(records, found, interval):
    summary = summarise_sweep(build_sweep(records))
    crossover = summary["best"]["crossover"]
    assert (crossover["vit"], crossover["size"], crossover["interval"]) == (found, None, interval)
    json.dumps(summary, allow_nan=False)


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
    assert two.crossover.size == np.inf
    one = [r for r in CROSSOVER if r.train_images == 1000]
    assert efficiency_of(one).crossover is None
    assert "only this size was trained on" in said([], one)
    assert "it cannot be said" in said([], one)


# Sentences: each outcome is said where the data show it, and in no other.

OUTCOMES = {
    "cnn": (CNN_WINS, r"sizes the CNN is ahead at 1,000, 10,000 and 100,000 images"),
    "vit": (VIT_WINS, r"sizes the ViT is ahead at 1,000, 10,000 and 100,000 images"),
    "crossover": (CROSSOVER, r"the ViT catches up at about 32,000 images \(95 % interval of the crossover: [\d,]+ to"),
    "undecided": (UNDECIDED, r"it is undecided at 1,000, 10,000 and 100,000 images"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_said_of_its_own_records_only(outcome):
    _, pattern = OUTCOMES[outcome]
    for name, (records, _) in OUTCOMES.items():
        assert bool(re.search(pattern, said([], records))) is (name == outcome), name


def test_what_is_said_of_catching_up():
    assert (
        "the ViT has not caught up at 100,000 images, the most measured (95 %: a crossover, if there is one, lies "
        in (said([], CNN_WINS))
    )
    assert "the ViT is level or ahead at every size from 1,000 images on" in said([], VIT_WINS)
    undecided = said([], UNDECIDED)
    assert "the CNN is more accurate" not in undecided
    assert "the ViT is more accurate" not in undecided
    assert "no difference is shown that would need a reason." in undecided
    assert "in the ViT's favour" in said([], CROSSOVER)
    assert "in no direction that is shown" in said([], CNN_WINS)
    reversed_ = synthetic.sweep(means(0.3, 0.5, 0.75), means(0.5, 0.6, 0.65))
    assert "the CNN, not ahead at first, is ahead at 100,000 images, the most measured" in said([], reversed_)
    assert "the ViT has not caught up" not in said([], reversed_)


def test_one_seed_has_no_interval_and_says_so():
    text = said(synthetic.comparison(), ONE_SEED)
    assert "interval of" not in text
    assert "95 %" not in text
    assert text.count("one seed, so no interval") >= 3
    assert "unproved" in text


def test_the_verdict_has_numbers_and_follows_the_winner():
    first, second, third = verdict(synthetic.comparison(), efficiency_of(CNN_WINS))
    assert first == (
        "With 1,000 training images and 2 epochs, the CNN came out ahead: 75.00 % against the ViT's 65.00 % "
        "(CNN - ViT: +10.00 points; one seed, so no interval) in the best epoch, chosen on the test images; after the "
        "last epoch CNN 74.00 %, ViT 64.00 %."
    )
    assert "620,362 parameters, the ViT 809,354 (1.30 times as many)" in second
    assert "10.0 s for the CNN, 50.0 s for the ViT: the ViT takes 5.0 times as long" in second
    assert third.startswith("Over training sizes the CNN is ahead at")
    turned = verdict(synthetic.comparison(0.65, 0.75, cnn_time_s=50.0, vit_time_s=10.0), None)
    assert "the ViT came out ahead: 75.00 % against the CNN's 65.00 %" in turned[0]
    assert "the CNN takes 5.0 times as long" in turned[1]
    assert verdict([], None) == []


def test_several_seeds_decide_by_their_interval():
    shown = said(synthetic.comparison(seeds=3), None)
    assert "the CNN is more accurate: 75.20 % against the ViT's 65.20 %" in shown
    records = synthetic.comparison(0.7, 0.7, seeds=2)
    records[0] = synthetic.run("cnn", 1000, 0, 0.9, experiment="full_comparison", time_s=10.0)
    assert "it is undecided which is more accurate" in said(records, None)


def test_times_that_were_not_measured_alike_are_not_compared():
    records = synthetic.comparison()
    records[0] = dataclasses.replace(records[0], environment=records[0].environment | {"cpu": "another"})
    text = said(records, None)
    assert "decide nothing" in text
    assert "times as long" not in text
    assert "takes less time" not in text


def test_why_follows_where_the_difference_arises():
    slow = synthetic.comparison()
    slow = [dataclasses.replace(r, history=with_training(r, 0.8 if r.config.model == "cnn" else 0.6)) for r in slow]
    assert "The ViT is behind on the training images too, so more than generalisation separates them." in said(
        slow, None
    )
    overfit = [dataclasses.replace(r, history=with_training(r, 0.9)) for r in slow]
    assert "The ViT is shown to be behind in the test only, not on the training images." in said(overfit, None)


def with_training(record, accuracy):
    return dataclasses.replace(record.history, train_accuracy=[0.1, accuracy])


def test_the_take_away_weighs_accuracy_and_time():
    one = said(synthetic.comparison(), None)
    assert (
        "The CNN came out ahead in accuracy (one seed), by 10.00 points with 1,000 images, and takes less time" in one
    )
    trade = said(synthetic.comparison(0.65, 0.75, seeds=3), None)
    assert "It is a trade: the ViT is more accurate, by 10.00 points with 1,000 images, the CNN takes less" in trade
    level = synthetic.comparison(0.7, 0.7, seeds=2)
    level[0] = synthetic.run("cnn", 1000, 0, 0.9, experiment="full_comparison", time_s=10.0)
    assert "Accuracy does not decide between them; the CNN takes less time" in said(level, None)


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
    lost = dataclasses.replace(records[-1], status="diverged")
    text = said([*records[:-1], lost], None)
    assert "CNN - ViT: +10.00 points" in text
    assert "2 seeds" in text
    (only,) = verdict([dataclasses.replace(r, status="interrupted") for r in synthetic.comparison()], None)
    assert only == (
        "The full comparison does not compare: CNN, seed 0: interrupted after 2 of 2 epochs; ViT, seed 0: interrupted "
        "after 2 of 2 epochs."
    )
    assert "no run of the ViT" in verdict(synthetic.comparison()[:1], None)[0]


def test_a_last_epoch_that_says_otherwise_is_said():
    agree = verdict(synthetic.comparison(), None)[0]
    assert "in the best epoch, chosen on the test images; after the last epoch CNN 74.00 %, ViT 64.00 %" in agree
    assert "depends on" not in agree
    turned = verdict(finals(synthetic.comparison(), cnn=0.5, vit=0.6), None)[0]
    assert "who is ahead depends on the epoch taken" in turned


def test_why_is_about_the_last_epoch_on_both_sides():
    records = finals(synthetic.comparison(), cnn=0.5, vit=0.6)
    (why,) = [a for a in answer_questions(records, None) if a.question == "Why?"]
    assert why.answer.startswith("The CNN is shown to be behind in the test only, not on the training images.")
    assert "-10.00 points" in why.evidence


def test_a_crossover_that_nothing_bounds_is_not_stated():
    text = said([], UNDECIDED)
    assert "no crossover is shown, and none is ruled out, from 1,000 to 100,000 images" in text
    assert "catches up at" not in text
    assert "for good" not in text


def test_predictions_follow_the_verdict_where_it_is_undecided():
    records = synthetic.comparison(0.7, 0.7, seeds=2)
    records[0] = synthetic.run("cnn", 1000, 0, 0.9, experiment="full_comparison", time_s=10.0)
    (score,) = score_predictions(predicted(records, Prediction("cnn", "cnn", 1.0)))
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
