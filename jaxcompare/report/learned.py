"""What the networks learned, for the page and for Markdown: figures with what they say, and findings."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from jaxcompare.analysis.findings import find
from jaxcompare.analysis.readings import readings
from jaxcompare.analysis.representations import Representations
from jaxcompare.report.answer_figures import disagreement_figure, robustness_figure
from jaxcompare.report.figure import Picture
from jaxcompare.report.layer_figures import probe_figure, similarity_figure
from jaxcompare.report.look_figures import first_layer_figure, map_figure, reach_figure
from jaxcompare.report.words import say_learned

FIGURES: Mapping[str, Callable[[Representations], Figure]] = {
    "figure11_similarity": similarity_figure,
    "figure12_reach": reach_figure,
    "figure13_probes": probe_figure,
    "figure14_robustness": robustness_figure,
    "figure15_maps": map_figure,
    "figure16_first_layers": first_layer_figure,
    "figure17_disagreement": disagreement_figure,
}


def reading_sentences(study: Representations) -> dict[str, str]:
    """What each figure says, by its name, from the numbers."""
    return {name: say_learned(name, **values) for name, values in readings(study).items()}


def learned_pictures(study: Representations) -> list[Picture]:
    """Every figure of the study, with its reading behind its caption."""
    pictures = []
    for name, reading in reading_sentences(study).items():
        caption = say_learned(f"{name}_caption")
        alternative = say_learned("alternative", caption, reading)
        pictures.append(Picture(name, FIGURES[name](study), alternative, alternative, of_speed=False))
    return pictures


def finding_sentences(study: Representations) -> list[str]:
    """Each claim of the literature with its answer, then what the answers mean."""
    return [say_learned("finding", one) for one in find(study)] + [say_learned("findings_note", len(study.seeds))]


def learned_blocks(study: Representations) -> dict[str, str]:
    """What Markdown files may show: each figure's reading by its name, and the `findings`."""
    *findings, note = finding_sentences(study)
    return reading_sentences(study) | {"findings": "\n".join([*(f"- {one}" for one in findings), "", note])}
