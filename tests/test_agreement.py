"""Whether two ways of training learn alike is found from paired differences."""

import dataclasses

import pytest
from synthetic import agreeing, runs_of

from jaxcompare.analysis.agreement import agreements, origins
from jaxcompare.config import InputError, TrainingConfig

# Agreement.


def test_an_agreement_is_of_differences_paired_by_seed():
    rows = agreements(runs_of(agreeing()))
    between, *_, device = rows.itertuples()
    assert [(arm.framework, arm.input) for arm in between.arms] == [("jax", "host"), ("torch", "host")]
    assert (between.first, between.second) == (pytest.approx(61), pytest.approx(59.5))
    assert (between.found.mean, between.found.verdict, between.seeds, between.needed) == (
        *(pytest.approx(1.5), "not shown", 2, 3),
    )
    assert (between.found.interval.low, between.found.interval.high) == pytest.approx((-1.657, 4.657), abs=1e-3)
    assert (device.model, device.margin, device.found.mean) == ("vit", 1.5, pytest.approx(0))
    apart = agreements(runs_of(agreeing(torch=(0.4, 0.4))))
    assert (apart.found[0].verdict, apart.found[0].mean) == ("excluded", pytest.approx(21))
    same = agreements(runs_of([dataclasses.replace(r, history=agreeing()[0].history) for r in agreeing()]))
    assert [found.verdict for found in same.found] == ["shown"] * 4
    more = [dataclasses.replace(r, train_images=500) for r in agreeing() if r.config.model == "cnn"]
    several = agreements(runs_of([*more, *agreeing()]))
    assert (list(several.train_images), list(several.model)) == ([100] * 4 + [500] * 2, [*rows.model, "cnn", "cnn"])
    one = agreements(runs_of([r for r in agreeing() if r.config.training.seed == 0]))
    assert [(found.interval, found.verdict) for found in one.found] == [(None, "not tested")] * 4
    assert one.needed.isna().all()


def test_runs_that_are_no_agreement_are_refused():
    runs = agreeing()
    short = dataclasses.replace(runs[0].config, training=TrainingConfig(epochs=5, batch_size=64))
    for wrong, message in (
        ([*runs, dataclasses.replace(runs[0], config=short)], "batch_size is 128 in one, 64 in another"),
        (
            [dataclasses.replace(runs[0], status="diverged"), *runs[1:]],
            r"cnn, 100 images, 20 epochs: complete seeds are \[1\] of .*\[0, 1\]",
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
