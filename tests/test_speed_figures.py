"""The speed study's figures draw what was computed."""

import dataclasses
import itertools

import pytest
import synthetic_speed as synthetic
from matplotlib.patches import Rectangle
from synthetic_speed import (
    COMPILE,
    EAGER,
    LAST,
    MILLISECONDS,
    RECIPE,
    STEP,
    failed,
    scattered,
    speed,
    study,
    sweep,
    timed,
)

from jaxcompare.analysis.roofline import intensity
from jaxcompare.analysis.speed import cells_of, leading
from jaxcompare.cell_frame import to_frame
from jaxcompare.report.pictures import DESIGNS, draw_pictures
from jaxcompare.report.results import Results
from jaxcompare.report.speed_curves import batch_sweep, roofline
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, speed_matrix


def test_figures_have_an_engine_without_options_and_its_fastest():
    slow, fast = (dataclasses.replace(EAGER, options=options) for options in (("fused",), ("fused", "replicas")))
    slower = dataclasses.replace(STEP, options=("im2col",))
    cells = {EAGER: 30.0, slow: 40.0, fast: 20.0, STEP: 10.0, slower: 15.0}
    assert cells_of(leading(to_frame(study(cells)))) == [EAGER, fast, STEP]


def test_break_even_curves_start_at_what_is_paid_once():
    (axes,) = break_even_curves(speed(study(repeats=1))).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    crossings = ("torch.compile: 232", "JAX plain jit: 290", "JAX step: 116", "JAX chunk: 116", "JAX epoch: 116")
    assert list(lines) == ["PyTorch eager", *crossings]
    assert lines["PyTorch eager"][0] == pytest.approx(0.2 + 0.1)
    assert lines["JAX step: 116"][0] == pytest.approx(6.0 + 0.05)
    last = axes.lines[0].get_xdata()[-1]
    assert lines["JAX step: 116"][-1] == pytest.approx(6.0 + 0.05 * last)
    dots = [dot.get_offsets()[0].tolist() for dot in axes.collections]
    assert dots[2] == [pytest.approx(116), pytest.approx(0.2 + 11.6)]
    # Against PyTorch eager at its best: 80 ms a step in another layout.
    (axes,) = break_even_curves(speed(study(MILLISECONDS | {LAST: 80.0}, repeats=1))).axes
    labels = [line.get_label() for line in axes.lines]
    assert [label for label in labels if "193" in label] == [f"JAX {e}: 193" for e in ("step", "chunk", "epoch")]
    assert len(break_even_curves(speed(synthetic.both_models())).axes) == 2
    # Every repeat crosses, but not by more than chance.
    level = speed(scattered({EAGER: (100, 100, 100), STEP: (99, 80, 60)}))
    _, step = break_even_curves(level).axes[0].lines
    assert step.get_label() == "JAX step: 290 (145 to 5,800, undecided)"


def test_the_matrix_has_a_square_for_each_cell():
    lost = synthetic.GRAPHS
    axes = speed_matrix(speed([*synthetic.both_models(), failed(lost, "no GPU")])).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["CNN", "ViT"]
    ways = [tick.get_text().replace("\n", " ") for tick in axes.get_yticklabels()]
    assert len(ways) == len(MILLISECONDS) + 1
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    squares = {(p.get_x() + 0.5, p.get_y() + 0.5): p for p in axes.patches}
    step, graphs, eager = (ways.index(cell.title) for cell in (STEP, lost, EAGER))
    # The best of PyTorch is torch.compile: 75 ms of the CNN, 100 of the ViT.
    assert texts[0, step] == "0.67 (0.67 to 0.67)"
    assert texts[1, step] == "0.67 (0.67 to 0.67)"
    assert texts[0, eager] == "1.33 (1.33 to 1.33)"
    assert texts[0, ways.index(COMPILE.title)] == "1"
    assert (texts[0, graphs], squares[0, graphs].get_hatch()) == ("n/a", "////")
    assert (texts[1, graphs], squares[1, graphs].get_hatch()) == ("", "")
    # Blue is faster, red slower.
    red, _, blue, _ = squares[1, step].get_facecolor()
    assert blue > red
    red, _, blue, _ = squares[0, ways.index(RECIPE.title)].get_facecolor()
    assert red > blue
    without = speed_matrix(speed([r for r in study() if r.cell not in (EAGER, COMPILE, RECIPE)])).axes[0]
    assert "391 (383 to 398) µs" in [text.get_text() for text in without.texts]


def test_the_roofline_has_a_marker_for_each_execution():
    (axes,) = roofline(speed(synthetic.both_models())).axes
    roof = axes.lines[0]
    assert roof.get_xdata()[1] == pytest.approx(15.0)
    assert roof.get_ydata()[1:].tolist() == pytest.approx([300, 300])
    assert roof.get_ydata()[0] == pytest.approx(20 * roof.get_xdata()[0])
    points = {bars.get_label(): bars.lines[0].get_xydata()[0] for bars in axes.containers}
    x, y = points["CNN, JAX step"]
    # 63.3 MFLOP an image, 128 images in 50 ms.
    assert y == pytest.approx(63.32e-3 * 128 / 0.05, rel=0.02)
    assert x == pytest.approx(intensity(to_frame([timed(STEP, 1.0)])), rel=0.25)
    assert points["ViT, PyTorch eager"][1] == pytest.approx(334.2e-3 * 128 / 0.4, rel=0.02)
    assert len(points) == 2 * 8
    markers = {
        bars.get_label(): bars.lines[0].get_marker()
        for bars in roofline(speed(study({EAGER: 9.0, LAST: 8.0}))).axes[0].containers
    }
    assert len(set(markers.values())) == 2
    # The fastest product was measured beside cells that the figure does not show.
    fast = [dataclasses.replace(r, ceiling_flops_per_s=6e11) for r in sweep(sizes=(32, 512))]
    made = speed([*study({EAGER: 100.0, STEP: 50.0}), *fast])
    assert max(roofline(made).axes[0].lines[0].get_ydata()) == pytest.approx(600)


def test_the_sweep_has_points_a_law_and_its_mark():
    (axes,) = batch_sweep(speed([*sweep(), *sweep("eager", 20.0, 0.1)])).axes
    step, eager = axes.containers
    assert step.lines[0].get_xdata().tolist() == [32, 128, 512]
    assert step.lines[0].get_ydata().tolist() == pytest.approx([13.2, 22.8, 61.2])
    laws = [line for line in axes.lines if len(line.get_xdata()) == 50]
    assert laws[0].get_ydata()[0] == pytest.approx(13.2, rel=0.01)
    marks = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert marks == pytest.approx([100, 200])
    assert step.get_label() == "JAX step, half fixed: 100 (100 to 100)"
    assert eager.get_label() == "PyTorch eager, half fixed: 200 (200 to 200)"


def test_the_waterfall_goes_from_the_recipes_time_to_the_epochs():
    figure = attribution_waterfall(speed(synthetic.both_models()))
    cnn, _, beside, _ = figure.axes
    bars = [(p.get_x(), p.get_x() + p.get_width()) for p in cnn.patches if isinstance(p, Rectangle)]
    ends = [1e3 / 128 * ms for ms in (800, 100, 400, 80, 50, 50)]
    assert bars == [pytest.approx(pair) for pair in itertools.pairwise(ends)]
    assert cnn.get_xscale() == "log"
    assert [p.get_hatch() for p in cnn.patches][:3] == ["", "////", ""]
    texts = [tick.get_text() for tick in beside.get_yticklabels()]
    assert texts[2] == "library: 0.25 (0.25 to 0.25); -50 % (-50 to -50)"
    assert "CNN: 16.0 (16.0 to 16.0) times as fast in all" in [axes.get_title() for axes in figure.axes]


def test_a_figure_without_records_is_not_drawn():
    def names(records):
        return [picture.name for picture in draw_pictures(Results(speed=speed(records)))]

    assert names([failed(STEP, "no")]) == []
    assert names([timed(STEP, 1.0)]) == ["figure5_matrix", "figure7_roofline"]
    assert names([timed(RECIPE, 1.0)]) == ["figure5_matrix"]
    everything = [*synthetic.both_models(), *[r for r in sweep() if r.cell.batch_size != 128]]
    assert names(everything) == [design.name for design in DESIGNS if design.of_speed]
