"""A full comparison in numbers, categories and sentences: what the data show is found, and nothing else."""

import dataclasses
import json
import math

import pytest
import synthetic
from scipy import stats
from synthetic import on_another, record, runs_of, sweep_of

from jaxcompare.analysis.data_efficiency import analyse
from jaxcompare.analysis.outcome import by_model, find_outcome, summarise
from jaxcompare.analysis.predictions import score_predictions
from jaxcompare.analysis.targets import epochs_to_accuracy
from jaxcompare.records import History, Prediction
from jaxcompare.report.answers import answer_questions, verdict
from jaxcompare.run_frame import SERIES, per_run, to_frame

SIZES = (1000, 10_000, 100_000)


def means(*values):
    return dict(zip(SIZES, values, strict=True))


CNN_WINS = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5))
ONE_SEED = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5), seeds=1)


def efficiency_of(records, metric="best"):
    return analyse(sweep_of(records), metric)


def outcome_of(records):
    return find_outcome(runs_of(records))


def said(comparison, records=()):
    """The verdict, and everything that is answered."""
    efficiency = efficiency_of(records) if records else None
    runs = runs_of(comparison)
    answers = answer_questions(runs, efficiency)
    return verdict(runs, efficiency), {question.split(" ")[0]: answer for question, answer in answers.items()}


# The frame.


def test_the_frame_is_a_row_a_run_and_epoch():
    lost = record("vit", status="diverged", history=History())
    frame = to_frame([record("cnn"), lost])
    assert list(frame.run) == [0, 0, 1]
    assert frame.epoch.tolist() == [1, 2, 0]
    assert frame.train_loss[:2].tolist() == record("cnn").history.train_loss
    assert frame.loc[2, list(SERIES[1:])].isna().all()
    runs = per_run(frame)
    for column in ("best", "final", "epoch_time_s"):
        value = {"best": "best_test_accuracy", "final": "final_test_accuracy"}.get(column, column)
        assert runs[column][0] == pytest.approx(getattr(record("cnn"), value))
        assert math.isnan(runs[column][1])
    assert list(runs.done) == [2, 0]
    assert runs.time_s[0] == sum(record("cnn").history.epoch_time_s)  # two epochs: median and mean are one
    assert list(to_frame([]).columns) == list(frame.columns)


def test_times_beside_other_work_do_not_count():
    records = synthetic.comparison(cnn_time_s=10, vit_time_s=50, seeds=2)
    history = records[0].history
    for shares, of_first, of_model in ([0.0, 0.04], 10, 10), ([0.05, math.nan], 30, 20), ([0.5, 0.05], math.nan, 10):
        beside = dataclasses.replace(history, epoch_time_s=[15.0, 30.0], others_share=shares)
        if of_first == 10:
            beside = dataclasses.replace(beside, epoch_time_s=[10.0, 10.0])
        changed = [dataclasses.replace(records[0], history=beside), *records[1:]]
        frame = to_frame(changed)
        assert per_run(frame).epoch_time_s[0] == pytest.approx(of_first, nan_ok=True)
        assert by_model(per_run(frame)).epoch_time_s[0] == of_model
        assert per_run(frame).best[0] == per_run(to_frame(records)).best[0]
    all_beside = [
        dataclasses.replace(r, history=dataclasses.replace(r.history, others_share=[1.0] * 2)) for r in records
    ]
    assert math.isnan(by_model(runs_of(all_beside)).epoch_time_s[0])
    assert by_model(runs_of(all_beside)).compiled[0] == "cold"
    assert outcome_of(all_beside).faster is None
    sweep = synthetic.sweep({10_000: 0.3, 20_000: 0.4}, {10_000: 0.2, 20_000: 0.5})
    for busy, sizes in ((), [10_000, 20_000]), ((20_000,), [10_000]), ((10_000, 20_000), []):
        records = [
            dataclasses.replace(r, history=dataclasses.replace(r.history, others_share=[0.2, 0.2]))
            if r.train_images in busy
            else r
            for r in sweep
        ]
        assert list(sweep_of(records).seconds.index) == sizes
    # Of less than a second it is not known.
    short = dataclasses.replace(history, epoch_time_s=[0.9, 1.0], others_share=[0.5, 0.5])
    assert short.times_alone() == pytest.approx([0.9, math.nan], nan_ok=True)
    assert all(map(math.isnan, short.times_alone(2)))


# The full comparison.


def level():
    """Two seeds that do not decide."""
    records = synthetic.comparison(0.7, 0.7, seeds=2)
    return [synthetic.run("cnn", 1000, 0, 0.9, experiment="full_comparison", time_s=10.0), *records[1:]]


def test_several_seeds_decide_by_their_interval():
    outcome = outcome_of(synthetic.comparison(seeds=3))
    assert (outcome.leader(), outcome.difference().mean) == ("cnn", pytest.approx(0.1))
    assert outcome.mean() == {"cnn": pytest.approx(0.752), "vit": pytest.approx(0.652)}
    assert outcome_of(level()).leader() is None
    assert outcome_of(synthetic.comparison(0.65, 0.75)).leader() == "vit"


def test_difference_is_paired_by_seed_not_by_place():
    records = synthetic.comparison(seeds=3)
    for place, accuracy in ((1, 0.4), (4, 0.3)):  # seed 1, far from the others, alike in both
        model = records[place].config.model
        records[place] = synthetic.run(model, 1000, 1, accuracy, experiment="full_comparison", time_s=10.0)
    found = outcome_of(records[:3] + records[:2:-1]).difference()
    assert (found.interval.low, found.interval.high) == pytest.approx((0.1, 0.1))


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
        dataclasses.replace(r, history=dataclasses.replace(r.history, train_accuracy=[0.1, trained[r.config.model]]))
        for r in synthetic.comparison(*test)
    ]
    assert outcome_of(records).why == why
    answers = said(records)[1]
    assert ("not decided" in answers["Why?"]) is ("dropout" in why)


def finals(records, **by_model_):
    """The same records with other accuracies after the last epoch."""
    return [
        dataclasses.replace(
            r, history=dataclasses.replace(r.history, test_accuracy=[r.best_test_accuracy, by_model_[r.config.model]])
        )
        for r in records
    ]


def test_why_is_about_the_last_epoch_on_both_sides():
    turned = outcome_of(finals(synthetic.comparison(), cnn=0.5, vit=0.6))
    assert (turned.leader(), turned.leader("final"), turned.why) == ("cnn", "vit", "test alone")
    assert turned.difference("final").mean == pytest.approx(-0.1)


def test_runs_that_did_not_come_to_their_end_decide_nothing():
    records = synthetic.comparison(seeds=3)
    lost = outcome_of([*records[:-1], dataclasses.replace(records[-1], status="diverged")])
    assert (lost.seeds, lost.difference().mean) == (2, pytest.approx(0.1))
    stopped = [dataclasses.replace(r, status="interrupted") for r in synthetic.comparison()]
    assert outcome_of(stopped) is None
    assert outcome_of(synthetic.comparison()[:1]) is None


def test_the_summary_has_the_promised_keys():
    summary = summarise(runs_of([record("cnn"), record("vit", status="diverged", history=History())]))
    assert summary["models"]["cnn"] == {
        "params": 620_362,
        "best_test_accuracy": {"mean": 0.5, "interval": None},
        "final_test_accuracy": {"mean": 0.5, "interval": None},
        "epoch_time_s": 3.0,
        "compile_time_s": 3.5,
        "compiled": "cold",
        "epochs": 2,
        "status": "complete",
        "seeds": {"42": 0.5},
    }
    lost = summary["models"]["vit"]
    assert (lost["best_test_accuracy"], lost["epochs"], lost["status"]) == (None, 0, "diverged")
    assert summary["difference"] is None
    json.dumps(summary, allow_nan=False)
    assert summarise(runs_of(synthetic.comparison(seeds=3)))["difference"]["mean"] == pytest.approx(0.1)


def test_several_seeds_are_their_mean_and_interval():
    rows = by_model(runs_of(synthetic.comparison(seeds=3))).set_index("model")
    interval = stats.t.interval(0.95, 2, 0.752, 0.002 / math.sqrt(3))
    assert (rows.best.cnn.mean, rows.best.cnn.interval.low, rows.best.cnn.interval.high) == pytest.approx(
        (0.752, *interval)
    )
    assert rows.epoch_time_s.vit == 50
    *others, last = synthetic.comparison(seeds=3)
    lost = by_model(runs_of([*others, dataclasses.replace(last, status="diverged", history=History())]))
    assert (lost.best[1].mean, lost.lost[1]) == (pytest.approx(0.651), {2: "diverged"})


def test_an_accuracy_is_reached_in_the_first_epoch_that_has_it():
    # To 40 and 50 %. The ViT's one epoch reaches 40 %.
    one, other = record("cnn"), record("vit", losses=(2.2,))
    found = epochs_to_accuracy(to_frame([one, other]))
    assert (found.cnn[0.4], found.cnn[0.5], found.vit[0.4]) == ((1, 1, 1), (2, 1, 1), (1, 1, 1))
    assert list(found.index) == [0.3, 0.4, 0.5]
    assert not isinstance(found.vit[0.5], tuple)
    low = dataclasses.replace(one, config=one.config.with_seed(43), history=History(*[[0.3, 0.4]] * 6, [0.0] * 2))
    found = epochs_to_accuracy(to_frame([one, on_another(low)]))
    assert (found.cnn[0.4], found.cnn[0.5]) == ((1.5, 2, 2), (2, 1, 2))
    whole = synthetic.comparison()
    stopped = dataclasses.replace(whole[0], status="interrupted", config=whole[0].config.with_seed(9))
    assert {one.of for one in epochs_to_accuracy(to_frame([*whole, stopped])).cnn} == {1}


def test_a_runs_epoch_is_its_median():
    slow = record("cnn", history=History(*[[0.5] * 3] * 3, [2.0, 3.0, 90.0], *[[0.1] * 3] * 2, [0.0] * 3))
    assert slow.epoch_time_s == 3
    assert per_run(to_frame([slow]))[["epoch_time_s", "time_s"]].to_numpy().tolist() == [[3, 9]]


# Sentences: of all that is said, what can be held against numbers.


def test_the_verdict_is_short_and_follows_the_numbers():
    lines, answers = said(synthetic.comparison(), CNN_WINS)
    assert len(lines) == 3
    assert all(len(line.split()) <= 25 for line in lines[:2])
    assert all(number in lines[0] for number in ("75.00 %", "65.00 %", "+10.00 points", "one seed, no interval"))
    assert all(number in lines[1] for number in ("5.0 times", "10.0 s", "1.30 times"))
    assert list(answers) == ["Which", "At", "Why?", "What"]
    assert verdict(runs_of([]), None) == []
    (turned, *_), _ = said(synthetic.comparison(0.65, 0.75))
    assert turned.index("ViT") < turned.index("75.00 %") < turned.index("65.00 %")
    (unequal, *_), _ = said(finals(synthetic.comparison(), cnn=0.5, vit=0.6))
    assert unequal.index("CNN") < unequal.index("ViT") < unequal.index("60.00 %") < unequal.index("-10.00 points")
    (undecided, *_), _ = said(level())
    assert all(number in undecided for number in ("80.10 %", "70.10 %", "95 % interval"))
    assert said(synthetic.comparison(seeds=3)[::-1]) == said(synthetic.comparison(seeds=3))


def test_what_does_not_count_is_named():
    stopped = [dataclasses.replace(r, status="interrupted") for r in synthetic.comparison()]
    (line,) = verdict(runs_of(stopped), None)
    assert line.count("interrupted after 2 of 2 epochs") == 2
    (line,) = verdict(runs_of(synthetic.comparison()[:1]), None)
    assert "no run of the ViT" in line


def test_one_seed_has_no_interval_and_says_so():
    lines, answers = said(synthetic.comparison(), ONE_SEED)
    text = " ".join([*lines, *answers.values()])
    assert "95 %" not in text
    assert text.count("one seed, no interval") >= 3


# Predictions.


def predicted(records, prediction):
    return runs_of([dataclasses.replace(record, prediction=prediction) for record in records])


@pytest.mark.parametrize(
    ("records", "measured"),
    [
        (synthetic.comparison(), ("cnn", "cnn", 10)),
        (synthetic.comparison(0.65, 0.75, vit_time_s=1.0), ("vit", "vit", 10)),
        (level(), (None, "cnn", 10)),
        (synthetic.comparison()[:1], (None, None, None)),
        ([on_another(synthetic.comparison()[0]), synthetic.comparison()[1]], ("cnn", None, 10)),
    ],
)
def test_predictions_stand_beside_what_was_measured(records, measured):
    prediction = Prediction("vit", "cnn", 4.0, "because")
    (score,) = score_predictions(predicted(records, prediction))
    gap = score.measured_gap_points and pytest.approx(score.measured_gap_points)
    assert (score.prediction, score.measured_more_accurate, score.measured_faster, gap) == (prediction, *measured)
    assert score_predictions(runs_of(records)) == []
