"""Data efficiency: runs over sizes and seeds, paired, with what is shown of them."""

import dataclasses
import json

import numpy as np
import pytest
import synthetic
from scipy import stats
from synthetic import on_another, sweep_of

from jaxcompare.analysis.data_efficiency import analyse, summarise_sweep
from jaxcompare.config import InputError, TrainingConfig

SIZES = (1000, 10_000, 100_000)


def means(*values):
    return dict(zip(SIZES, values, strict=True))


CNN_WINS = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.3, 0.4, 0.5))
VIT_WINS = synthetic.sweep(means(0.3, 0.4, 0.5), means(0.5, 0.6, 0.7))
CROSSOVER = synthetic.sweep(means(0.5, 0.6, 0.65), means(0.3, 0.5, 0.75))
UNDECIDED = synthetic.sweep(means(0.5, 0.6, 0.7), means(0.5, 0.6, 0.7), spread=0.03)


def efficiency_of(records, metric="best"):
    return analyse(sweep_of(records), metric)


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
    # Times are of one machine: here that of the two larger sizes.
    elsewhere = sweep_of([on_another(r) if r.train_images == 1000 else r for r in CROSSOVER])
    assert summarise_sweep(elsewhere)["training_time_s"]["cnn"] == {"1000": None, "10000": 20.0, "100000": 200.0}


def test_two_sizes_have_no_power_law_and_one_no_crossover():
    two = efficiency_of([r for r in CROSSOVER if r.train_images < 100_000])
    assert (two.power_law, two.crossover.leads) == ({}, ("cnn", "cnn"))
    one = efficiency_of([r for r in CROSSOVER if r.train_images == 1000])
    assert (one.crossover, one.leader_at(0)) == (None, "cnn")
    alone = efficiency_of([r for r in CROSSOVER if r.config.model == "cnn"])
    assert (alone.difference, alone.crossover, len(alone.power_law)) == ([], None, 1)
