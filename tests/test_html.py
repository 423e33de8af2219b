"""The page: self-contained, valid, whole, and nobody's text is markup in it."""

import dataclasses
import json
import re
from html import unescape

import html5lib
import pytest
import synthetic
from synthetic import on_another

from jaxcompare.analysis.data_efficiency import analyse
from jaxcompare.lines import summary_json
from jaxcompare.records import Prediction
from jaxcompare.report.html import build_page
from jaxcompare.report.pictures import draw_pictures
from jaxcompare.report.results import Results
from jaxcompare.report.run_figures import data_efficiency
from jaxcompare.run_frame import to_frame

SIZES = {1000: 0.5, 10_000: 0.6, 100_000: 0.65}
VIT = {1000: 0.3, 10_000: 0.5, 100_000: 0.75}
EVIL = '$\\alpha$ <img src="http://evil.example/x.png" onerror=alert(1)> & "quoted" {{ 7 * 7 }}'


def results(**changes):
    prediction = Prediction("vit", "cnn", 3.25, EVIL)
    return Results(
        to_frame(synthetic.comparison(prediction=prediction, **changes)),
        [synthetic.sweep_of(synthetic.sweep(SIZES, VIT, **changes))],
    )


@pytest.fixture(scope="module")
def page():
    made = results(dataset_title=EVIL)
    return build_page(made, draw_pictures(made))


def leaves(value):
    """Every number and string of a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield value


def test_the_page_is_valid_html(page):
    html5lib.HTMLParser(strict=True).parse(page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    # What refers to an id finds it.
    for target in re.findall(r'(?:href="#|url\(#)([^")]*)', page):
        assert target in ids, target


def test_the_page_loads_nothing(page):
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    assert not [
        element for element in tree.iter() if element.tag in ("script", "iframe", "object", "embed", "base", "img")
    ]
    links = [
        value
        for element in tree.iter()
        for name, value in element.attrib.items()
        if str(name).rpartition("}")[2] in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links), links
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_text_from_records_is_escaped(page):
    assert "http://evil.example" in page
    assert "<img" not in page
    assert "{{ 7 * 7 }}" in unescape(page)
    assert ">49<" not in page


def test_every_number_of_the_summary_is_on_the_page(page):
    text = unescape(re.sub(r"<[^>]*>", " ", page))
    summary = json.loads(summary_json(results(dataset_title=EVIL).summary))
    numbers = [leaf for leaf in leaves(summary) if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    assert len(numbers) > 80
    for number in numbers:
        assert json.dumps(number) in text, number
    # And, since the page holds the file itself, as a person reads them in the tables.
    tables = unescape(" ".join(re.findall(r"<td>([^<]*)</td>", page)))
    for metric in ("best", "final"):
        found = summary["data_efficiency"][metric]
        for model in ("cnn", "vit"):
            for estimate in found["accuracy"][model].values():
                low, high = estimate["interval"]
                assert f"{100 * estimate['mean']:.2f} ({100 * low:.2f} to {100 * high:.2f})" in tables
        for estimate in found["difference"].values():
            assert f"{100 * estimate['mean']:+.2f} (" in tables
    for model in summary["full_comparison"]["models"].values():
        assert f"{100 * model['best_test_accuracy']['mean']:.2f} %" in tables
    for sentence in summary["verdict"]:
        assert sentence in text


def test_every_figure_is_on_the_page_and_names_the_table_that_has_its_numbers(page):
    pictures = draw_pictures(results())
    assert [picture.name[:7] for picture in pictures] == ["figure1", "figure2", "figure3"]
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', page)
    assert len(labels) == page.count("<svg") == 3
    titles = [table.title for tables in results().tables.values() for table in tables]
    for picture, label in zip(pictures, map(unescape, labels), strict=True):
        assert label.startswith(picture.caption)
        assert label.split("“")[1].split("”")[0] in titles


def test_predictions_are_on_the_page_beside_what_was_measured(page):
    assert "<td>More accurate</td><td>ViT</td><td>CNN</td>" in page
    assert "<td>Faster per epoch</td><td>CNN</td><td>CNN</td>" in page
    assert "<td>Gap, points</td><td>3.25</td><td>10.00</td>" in page


@pytest.mark.parametrize("part", ["comparison", "sweep", "nothing"])
def test_a_part_of_the_results_makes_a_page_too(part):
    whole = results()
    made = {
        "comparison": Results(whole.comparison),
        "sweep": Results(sweeps=whole.sweeps),
        "nothing": Results(),
    }[part]
    text = build_page(made, draw_pictures(made))
    html5lib.HTMLParser(strict=True).parse(text)
    assert ("there is nothing to compare" in text) is (part == "nothing")
    assert ("Figure 2." in text) is (part == "sweep")


def test_limits_follow_the_records(page):
    def limits(made):
        return re.findall("<li>(.*?)</li>", build_page(made, []))

    whole, records = results(), synthetic.comparison()
    assert len(limits(whole)) == 6
    assert len(limits(Results(to_frame(synthetic.comparison(seeds=2))))) == 2
    diverged = [dataclasses.replace(r, status="diverged") if r.config.model == "vit" else r for r in records]
    assert "ViT, seed 0: diverged after 2 of 2 epochs" in " ".join(limits(Results(to_frame(diverged))))
    other = [dataclasses.replace(r, environment=r.environment | {"cpu": "another"}) for r in records]
    assert len(limits(Results(to_frame(other), whole.sweeps))) == 7


def test_figure_2_holds_the_sweeps_values():
    # One seed far above the others: intervals whose two sides differ.
    records = [
        synthetic.run(r.config.model, r.train_images, 0, r.best_test_accuracy + 0.05, time_s=r.history.epoch_time_s[0])
        if r.config.training.seed == 0
        else r
        for r in synthetic.sweep(SIZES, VIT)
    ]
    efficiency = analyse(synthetic.sweep_of(records))
    by_size, by_seconds = data_efficiency(efficiency).axes
    for model, line in zip(
        ("cnn", "vit"), [line for line in by_size.lines if line.get_marker() != "None"], strict=True
    ):
        means = [100 * e.mean for e in efficiency.estimates[model]]
        assert list(line.get_xdata()) == efficiency.sweep.sizes
        assert list(line.get_ydata()) == pytest.approx(means)
    bands = [collection for collection in by_size.collections if len(collection.get_paths()[0].vertices) > 6]
    for model, band in zip(("cnn", "vit"), bands, strict=True):
        edges = band.get_paths()[0].vertices[:, 1]
        assert edges.min() == pytest.approx(100 * min(e.interval.low for e in efficiency.estimates[model]))
        assert edges.max() == pytest.approx(100 * max(e.interval.high for e in efficiency.estimates[model]))
    (mark,) = [line for line in by_size.lines if line.get_linestyle() == ":"]
    assert mark.get_xdata()[0] == pytest.approx(efficiency.crossover.size)
    assert len(by_size.lines) == 2 * 5 + 2 + 1  # every seed, both means, the crossover
    for model, bars in zip(("cnn", "vit"), by_seconds.containers, strict=True):
        points, _, (ranges,) = bars
        assert list(points.get_xdata()) == pytest.approx(
            [size / 1000 * 2 * (1 if model == "cnn" else 5) for size in SIZES]
        )
        for (low, high), e in zip((s[:, 1] for s in ranges.get_segments()), efficiency.estimates[model], strict=True):
            assert (low, high) == pytest.approx((100 * e.interval.low, 100 * e.interval.high))


def test_figure_2_says_of_how_many_sizes_it_has_times():
    whole = synthetic.sweep(SIZES, VIT)
    parted = [on_another(run) if run.train_images == 100_000 else run for run in whole]
    here, some = (data_efficiency(analyse(synthetic.sweep_of(runs))).axes[1].get_title() for runs in (whole, parted))
    assert here.endswith("2 cores of CPU")
    assert some.endswith("2 cores of CPU (2 of 3 sizes)")
