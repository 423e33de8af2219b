"""One self-contained page of everything that was measured: no script, nothing loaded from anywhere."""

import re
from collections import Counter
from collections.abc import Sequence

import jinja2
import pandas as pd
from markupsafe import Markup

from jaxcompare import __version__
from jaxcompare.analysis.agreement import recipes
from jaxcompare.analysis.contrast import measured
from jaxcompare.cell_frame import environment_of
from jaxcompare.lines import summary_json
from jaxcompare.measure.cost import layer_costs
from jaxcompare.records import short_commit
from jaxcompare.report.answers import unfinished
from jaxcompare.report.commands import speed_commands, training_commands
from jaxcompare.report.figure import Picture, figure_svg
from jaxcompare.report.learned import FIGURES, finding_sentences
from jaxcompare.report.results import Results
from jaxcompare.report.run_tables import score_table
from jaxcompare.report.tables import Columns, Table, make_table
from jaxcompare.report.text import LABELS, device_text, versions_text

LAYERS: Columns = {
    "Layer": ("layer", str),
    "Depends on": ("depends", str),
    "MFLOP": ("flops_per_image", lambda flops: f"{flops / 1e6:.2f}"),
    "Formula": ("formula", str),
}

MACHINES: Columns = {
    "Experiment": ("experiment", lambda name: name.replace("_", " ")),
    "Training images": ("train_images", lambda sizes: ", ".join(f"{size:,}" for size in sizes)),
    "Seeds": ("seed", lambda seeds: ", ".join(map(str, seeds))),
    "Machine": ("machine", str),
    "Versions": ("versions", str),
    "Commit": ("git_commit", str),
    "Begun (UTC)": ("days", lambda days: " to ".join(dict.fromkeys([*days[:1], *days[-1:]])) or "-"),
}


def build_page(results: Results, pictures: Sequence[Picture]) -> str:
    """The page, as HTML. Every text that comes from records is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxcompare.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables, drawn = results.tables, [(picture, _inline(picture)) for picture in pictures]
    return environment.get_template("report.html.jinja").render(
        version=__version__,
        results=results,
        pictures=[(one, svg) for one, svg in drawn if not one.of_speed and one.name not in FIGURES],
        learned_pictures=[(one, svg) for one, svg in drawn if one.name in FIGURES],
        findings=finding_sentences(results.learned) if results.learned else [],
        speed_pictures=[(picture, svg) for picture, svg in drawn if picture.of_speed],
        speed_tables=[table for name, found in tables.items() if name.startswith("training_speed") for table in found],
        tables={name: found for name, found in tables.items() if not name.startswith("training_speed")},
        scores=[score_table(score) for score in results.scores],
        machines=_machines_table(results),
        layers=_layer_tables(results.runs),
        unfinished=unfinished(results.compared) if len(results.compared) else "",
        commands=list_commands(results),
        summary=summary_json(results.summary),
    )


def _inline(picture: Picture) -> Markup:
    """The figure as SVG that can stand beside others in one page: its ids are its own, and it has a label."""
    text = figure_svg(picture.figure, picture.name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", text)
    label = Markup('<svg role="img" aria-label="{}" ').format(picture.alternative)
    # Matplotlib has escaped its texts; the size gives way to the page's.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    return Markup(label + Markup(text[len("<svg ") :]))


def _machines_table(results: Results) -> Table:
    """Each machine, set of versions and commit that something was measured with; of which sizes and seeds, and when."""
    about = ["train_images", "git_commit", "started_at"]
    rows = results.runs[["experiment", "environment", "seed", *about]].to_dict("records")
    if results.speed:
        timed = measured(results.speed.frame)
        rows += [
            {"experiment": "training speed", "environment": environment_of(row), **row[about]}
            for _, row in timed.iterrows()
        ]
    if results.learned:
        study = results.learned.study
        at = {"experiment": "representations", "environment": study["environment"], "git_commit": study["git_commit"]}
        rows += [at | {"seed": run["seed"], "train_images": run["train_images"]} for run in study["runs"]]
    if not rows:
        return Table((), [], [])
    of = pd.DataFrame(rows, columns=["experiment", "environment", "seed", *about])
    of = of.fillna({"git_commit": "not known"}).astype({"seed": "Int64"})
    of["machine"], of["versions"] = of.environment.map(device_text), of.environment.map(versions_text)
    kinds = of.assign(days=of.started_at.astype("string").str[:10]).groupby(
        ["experiment", "machine", "versions", "git_commit"], sort=False
    )
    columns = ["train_images", "seed", "days"]
    return make_table("", kinds[columns].agg(lambda values: sorted(set(values.dropna()))).reset_index(), MACHINES)


def _layer_tables(runs: pd.DataFrame) -> list[Table]:
    """What each layer looks at and costs; of the recipe's images, if no run has others."""
    shape = {}
    if len(runs):
        shape = {"image_size": runs.config.iloc[0].data.image_size, "num_classes": runs.num_classes.iloc[0]}
    tables = []
    for model, label in LABELS.items():
        rows = pd.DataFrame(layer_costs(model, **shape))
        rows["depends"] = [f"{row.positions} of {row.of} positions" for row in rows.itertuples()]
        total = {"layer": "all", "depends": "", "flops_per_image": rows.flops_per_image.sum(), "formula": ""}
        title = f"{label}: forward pass of one image, a multiplication and an addition counted as two operations"
        tables.append(make_table(title, pd.concat([rows, pd.DataFrame([total])]), LAYERS))
    return tables


def list_commands(results: Results) -> list[str]:
    """A line for each experiment, recipe, commit and range of seeds."""
    parts = (results.compared, *(sweep.runs for sweep in results.sweeps), *recipes(results.agreement))
    lines, seen, comparisons = [], Counter[str](), {}
    several = results.runs.git_commit.nunique(dropna=False) > 1
    for runs in (part for part in parts if len(part)):
        script = runs.experiment.iloc[0]
        commits = runs.git_commit.fillna("not known")
        # An agreement's kinds may be of several commits; its command trains them all.
        of_commits = [("", runs)] if script == "framework_agreement" else list(runs.groupby(commits, sort=False))
        for commit, of in of_commits:
            # A folder holds one recipe, of one commit.
            seen[script] += 1
            folder = f"runs/{script}" + (f"_{seen[script]}" if seen[script] > 1 else "")
            if script == "full_comparison":
                comparisons[commit] = folder
            out = f" --out {folder}" if seen[script] > 1 else ""
            at = f"  # commit {short_commit(commit)}" if several and commit in set(results.runs.git_commit) else ""
            for _, alike in of.groupby(of.first_of_epochs.notna(), sort=False):
                lines += [line + out + at for line in training_commands(alike, comparisons.get(commit, "FOLDER"))]
    if results.learned and (of := comparisons.get(results.learned.study["runs"][0]["git_commit"])):
        place = " --data-dir DIR" if results.compared.config.iloc[0].data.dataset == "folder" else ""
        lines.append(f"python experiments/representations.py --runs {of}{place}")
    return lines + (speed_commands(results.speed) if results.speed else [])
