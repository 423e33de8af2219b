"""From runs to numbers and categories: what the data show is found, and nothing else."""

import dataclasses
import json
import math

import numpy as np
import pytest
import synthetic
from scipy import stats
from synthetic import runs_of, sweep_of
from test_records import record

from jaxcompare.analysis.agreement import agreements, origins
from jaxcompare.analysis.data_efficiency import analyse, summarise_sweep
from jaxcompare.analysis.outcome import by_model, find_outcome, summarise
from jaxcompare.analysis.predictions import score_predictions
from jaxcompare.analysis.statistics import Spread
from jaxcompare.analysis.targets import times_as_trained
from jaxcompare.config import ExecutionConfig, InputError, TrainingConfig
from jaxcompare.records import History, Prediction
from jaxcompare.report.answers import answer_questions, verdict
from jaxcompare.run_frame import SERIES, per_run, to_frame

SIZES = (1000, 10_000, 100_000)


def means(*values):
    return dict(zip(SIZES, values, strict=True))


CNN_WINS = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5))
VIT_WINS = synthetic.sweep(means(0.3, 0.4, 0.5), means(0.5, 0.6, 0.7))
CROSSOVER = synthetic.sweep(means(0.5, 0.6, 0.65), means(0.3, 0.5, 0.75))
UNDECIDED = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.5, 0.6, 0.7), spread=0.03)
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


def on_another(record):
    """The same on another machine."""
    return dataclasses.replace(record, environment=record.environment | {"cpu": "another"})


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
    assert runs.time_s[0] == sum(record("cnn").history.epoch_time_s)
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
        assert by_model(per_run(frame)).epoch_time_s[0].middle == of_model
        assert per_run(frame).best[0] == per_run(to_frame(records)).best[0]
        assert times_as_trained(frame).empty == (of_first != 10)
    all_beside = [
        dataclasses.replace(r, history=dataclasses.replace(r.history, others_share=[1.0] * 2)) for r in records
    ]
    assert by_model(runs_of(all_beside)).epoch_time_s[0] is None
    assert outcome_of(all_beside).faster is None
    assert sweep_of(synthetic.sweep({10: 0.3, 20: 0.4}, {10: 0.2, 20: 0.5})).seconds
    busy = [
        dataclasses.replace(r, history=dataclasses.replace(r.history, others_share=[0.2, 0.0]))
        for r in synthetic.sweep({10: 0.3, 20: 0.4}, {10: 0.2, 20: 0.5})
    ]
    assert sweep_of(busy).seconds is None


# Data efficiency.


def test_a_sweep_is_paired_by_seed_and_in_order():
    sweep = sweep_of(CROSSOVER[::-1])
    assert (sweep.models, sweep.sizes, sweep.seeds) == (["cnn", "vit"], list(SIZES), [0, 1, 2, 3, 4])
    values = sweep.values("best")["vit"]
    assert values.shape == (5, 3)
    np.testing.assert_allclose(values[:, 1], 0.5 - 0.004 * np.array([-1, 0, 1, 2, -2]))
    efficiency = analyse(sweep)
    np.testing.assert_allclose([d.mean for d in efficiency.difference], [0.2, 0.1, -0.1])
    ends = stats.ttest_rel(sweep.values("best")["cnn"], values).confidence_interval()
    np.testing.assert_allclose([d.interval.low for d in efficiency.difference], ends.low)
    # Errors of 40 and 50 % at 10,000, of 35 and 25 % at 100,000: straight lines in log-log meet there.
    images = sweep.first.test_images
    counted = {error: (images * error + 0.5) / (images + 1) for error in (0.25, 0.35, 0.4, 0.5)}
    ahead, behind = np.log(counted[0.5] / counted[0.4]), np.log(counted[0.35] / counted[0.25])
    meeting = 10 ** (4 + ahead / (ahead + behind))
    assert efficiency.crossover.size == pytest.approx(meeting, rel=1e-3)
    assert 10_000 < efficiency.crossover.interval.low < meeting < efficiency.crossover.interval.high < 100_000
    final = analyse(sweep, "final")
    assert final.estimates.cnn[1000].mean == pytest.approx(efficiency.estimates.cnn[1000].mean - 0.01)


def test_runs_without_a_partner_are_left_out_and_named():
    running = dataclasses.replace(CROSSOVER[0], status="interrupted")  # the CNN's seed 0 at the smallest size
    sweep = sweep_of([running, synthetic.run("cnn", 1000, 9, 0.5), *CROSSOVER[1:]])
    assert sweep.seeds == [1, 2, 3, 4]
    left_out = {tuple(run) for run in sweep.left_out.itertuples(index=False)}
    assert ("cnn", 1000, 0, "interrupted") in left_out
    assert ("vit", 1000, 0, "complete") in left_out
    assert ("cnn", 1000, 9, "complete") in left_out
    alone = sweep_of([*CROSSOVER, synthetic.run("cnn", 500, 0, 0.4)])
    assert alone.sizes == list(SIZES)
    assert alone.left_out.values.tolist() == [["cnn", 500, 0, "complete"]]


def test_the_largest_block_of_runs_is_kept():
    for seed in (9, 0):
        sweep = sweep_of([*CROSSOVER, *(synthetic.run(model, 500, seed, 0.4) for model in ("cnn", "vit"))])
        assert (sweep.sizes, len(sweep.seeds)) == (list(SIZES), 5)


def test_runs_that_are_no_sweep_are_refused():
    short = dataclasses.replace(CROSSOVER[0].config, training=TrainingConfig(epochs=5))
    with pytest.raises(InputError, match="epochs is 2 in one, 5 in another"):
        sweep_of([*CROSSOVER[1:], dataclasses.replace(CROSSOVER[0], config=short)])
    with pytest.raises(InputError, match="several runs from seed 0"):
        sweep_of([*CROSSOVER, CROSSOVER[0]])
    with pytest.raises(InputError, match="no seed is complete"):
        sweep_of([synthetic.run("cnn", 1000, 0, 0.5), synthetic.run("vit", 1000, 1, 0.5)])


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
    first, *others = CROSSOVER
    with pytest.raises(InputError, match="different recipes"):
        sweep_of([dataclasses.replace(first, config=change(first.config)), *others])
    data = dataclasses.replace(first.config.data, workers=2)
    sweep_of([dataclasses.replace(first, config=dataclasses.replace(first.config, data=data)), *others])


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
    summary = json.loads(json.dumps(summarise_sweep(sweep_of(records)), allow_nan=False))
    crossover = summary["best"]["crossover"]
    assert (crossover["leads"], crossover["changes"]) == (leads, changes)
    assert [efficiency_of(records).leader_at(place) for place in range(3)] == leads
    if changes:
        low, high = crossover["interval"]
        assert 10_000 < low < crossover["size"] < high < 100_000
    else:
        assert (crossover["size"], crossover["interval"]) == (None, None)


def test_summary_holds_means_intervals_times_and_laws_whatever_the_order():
    summary = summarise_sweep(sweep_of(CROSSOVER))
    shuffled = [CROSSOVER[i] for i in np.random.default_rng(0).permutation(len(CROSSOVER))]
    assert json.dumps(summarise_sweep(sweep_of(shuffled))) == json.dumps(summary)
    assert summary["best"]["accuracy"]["cnn"]["1000"]["mean"] == pytest.approx(0.5)
    low, high = summary["best"]["accuracy"]["cnn"]["1000"]["interval"]
    assert 0.48 < low < 0.5 < high < 0.52
    assert summary["training_time_s"] == {
        "cnn": {"1000": 2.0, "10000": 20.0, "100000": 200.0},
        "vit": {"1000": 10.0, "10000": 100.0, "100000": 1000.0},
    }
    slope = stats.linregress(np.log(SIZES), np.log([0.5, 0.4, 0.35])).slope
    assert summary["best"]["power_law"]["cnn"]["b"] == pytest.approx(-slope, rel=1e-2)
    elsewhere = sweep_of([on_another(CROSSOVER[0]), *CROSSOVER[1:]])
    assert summarise_sweep(elsewhere)["training_time_s"]["cnn"]["1000"] is None


def test_two_sizes_have_no_power_law_and_one_no_crossover():
    two = efficiency_of([r for r in CROSSOVER if r.train_images < 100_000])
    assert (two.power_law, two.crossover.leads) == ({}, ("cnn", "cnn"))
    one = efficiency_of([r for r in CROSSOVER if r.train_images == 1000])
    assert (one.crossover, one.leader_at(0)) == (None, "cnn")
    alone = efficiency_of([r for r in CROSSOVER if r.config.model == "cnn"])
    assert (alone.difference, alone.crossover, len(alone.power_law)) == ([], None, 1)


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


def test_times_are_compared_only_if_measured_alike():
    assert outcome_of(synthetic.comparison()).faster == ("cnn", pytest.approx(5))
    assert outcome_of(synthetic.comparison(cnn_time_s=50.0, vit_time_s=10.0)).faster == ("vit", pytest.approx(5))
    first, *others = synthetic.comparison()
    assert outcome_of([on_another(first), *others]).faster is None
    assert outcome_of(synthetic.comparison(cnn_time_s=50.2)).faster is None


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
        "best_test_accuracy": 0.5,
        "final_test_accuracy": 0.5,
        "epoch_time_s": 3.0,
        "compile_time_s": 3.5,
        "compiled": "cold",
        "epochs": 2,
        "status": "complete",
        "seeds": {"42": 0.5},
    }
    lost = summary["models"]["vit"]
    assert (lost["best_test_accuracy"], lost["epochs"], lost["status"]) == (None, 0, "diverged")
    json.dumps(summary, allow_nan=False)


def test_several_seeds_are_their_mean_and_range():
    rows = by_model(runs_of(synthetic.comparison(seeds=3))).set_index("model")
    assert dataclasses.astuple(rows.best.cnn)[:3] == pytest.approx((0.752, 0.75, 0.754))
    assert rows.epoch_time_s.vit == Spread(50, 50, 50)


def test_time_to_accuracy_is_that_of_the_first_epoch_that_reaches_it():
    # Epochs of 2 and 4 s, to 40 and 50 %; compilation 3.5 s. The ViT's one epoch of 2 s reaches 40 %.
    one, other = record("cnn"), record("vit", losses=(2.2,))
    times = times_as_trained(to_frame([one, other]))
    assert times.cnn[0.4] == (2.0, 5.5, 1, 1)
    assert times.cnn[0.5] == (6.0, 9.5, 1, 1)
    assert (times.vit[0.4], list(times.index)) == ((2.0, 5.5, 1, 1), [0.3, 0.4, 0.5])
    assert not isinstance(times.vit[0.5], tuple)
    low = dataclasses.replace(one, config=one.config.with_seed(43), history=History(*[[0.3, 0.4]] * 6, [0.0] * 2))
    assert times_as_trained(to_frame([one, low])).cnn[0.5] == (6.0, 9.5, 1, 2)
    assert times_as_trained(to_frame([one, on_another(other)])).empty


# Sentences: of all that is said, what can be held against numbers.


def test_the_verdict_is_short_and_follows_the_numbers():
    lines, answers = said(synthetic.comparison(), CNN_WINS)
    assert len(lines) == 3
    assert all(len(line.split()) <= 25 for line in lines[:2])
    assert all(number in lines[0] for number in ("75.00 %", "65.00 %", "+10.00 points", "one seed, no interval"))
    assert all(number in lines[1] for number in ("5.0 times", "50.0 s", "10.0 s", "1.30 times"))
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


# Agreement.


def with_accuracy(base, accuracy, framework="jax", seed=0, place="host"):
    config = dataclasses.replace(base.config, framework=framework, execution=ExecutionConfig("step", place))
    history = History([1.0], [0.5], [accuracy], [1.0], [1.0], [0.0], [0.0])
    return dataclasses.replace(base, config=config.with_seed(seed), history=history)


def agreeing(torch=(0.59, 0.60)):
    arms = (("jax", "host", (0.60, 0.62)), ("torch", "host", torch), ("jax", "device", (0.61, 0.61)))
    return [
        with_accuracy(record(model), accuracy, framework, seed, place)
        for framework, place, accuracies in arms
        for model in ("cnn", "vit")
        for seed, accuracy in enumerate(accuracies)
    ]


def test_an_agreement_is_of_differences_paired_by_seed():
    rows = agreements(runs_of(agreeing()))
    between, *_, device = rows.itertuples()
    assert [(arm.framework, arm.input) for arm in between.arms] == [("jax", "host"), ("torch", "host")]
    assert between.first == (pytest.approx(61), pytest.approx([60, 62]))
    assert between.second == (pytest.approx(59.5), pytest.approx([59, 60]))
    assert (between.found.mean, between.found.verdict, between.seeds, between.needed) == (
        *(pytest.approx(1.5), "not shown", 2, 3),
    )
    assert (between.found.interval.low, between.found.interval.high) == pytest.approx((-1.657, 4.657), abs=1e-3)
    assert (device.model, device.margin, device.found.mean) == ("vit", 1.5, pytest.approx(0))
    apart = agreements(runs_of(agreeing(torch=(0.4, 0.4))))
    assert (apart.found[0].verdict, apart.found[0].mean) == ("excluded", pytest.approx(21))
    same = agreements(runs_of([dataclasses.replace(r, history=agreeing()[0].history) for r in agreeing()]))
    assert [found.verdict for found in same.found] == ["shown"] * 4
    one = agreements(runs_of([r for r in agreeing() if r.config.training.seed == 0]))
    assert [(found.interval, found.verdict) for found in one.found] == [(None, "not shown")] * 4
    assert one.needed.isna().all()


def test_runs_that_are_no_agreement_are_refused():
    runs = agreeing()
    short = dataclasses.replace(runs[0].config, training=TrainingConfig(epochs=5))
    for wrong, message in (
        ([*runs, dataclasses.replace(runs[0], config=short)], "epochs is 20 in one, 5 in another"),
        (
            [dataclasses.replace(runs[0], status="diverged"), *runs[1:]],
            r"cnn: complete seeds are \[1\] of .*\[0, 1\]",
        ),
        ([*runs, runs[0]], "cnn: several runs of .* from one seed"),
    ):
        with pytest.raises(InputError, match=message):
            agreements(runs_of(wrong))


def test_what_origins_do_not_share_is_found():
    runs = agreeing()
    assert origins(runs_of(runs)) == {}
    versions = runs[0].environment["versions"] | {"torch": "1.0"}
    environment = runs[0].environment | {"versions": versions}
    other = dataclasses.replace(runs[0], git_commit="abcdef0123", environment=environment)
    found = origins(runs_of([other, *runs[1:]]))
    assert set(found) == {"commits", "torch"}
    assert "abcdef0" in found["commits"]
    assert "1.0" in found["torch"]
