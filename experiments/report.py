"""The report, from saved records alone: figures, summary, page and the tables in Markdown files. Nothing is trained.

    python experiments/report.py runs/full_comparison runs/data_efficiency

Takes seconds, and needs no device. Merges the folders' records (other seeds, other machines), refuses to mix recipes
or, of two models with one seed, commits. Writes report.html, summary.json and figures/ to --out; prints every table.
"""

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated

import tyro

import console
import guard
from jaxcompare.config import InputError
from jaxcompare.lines import TruncatedLine, summary_json, write_atomically


@dataclasses.dataclass(frozen=True)
class Args:
    """Rebuild figures, tables and the page from records."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders written by full_comparison.py, data_efficiency.py, framework_agreement.py, training_speed.py or
    representations.py. Of data_efficiency.py's the first is reported; other --subsets or --budget stand beside it. Of
    training_speed.py's the first is reported; a second one confirms it or does not; other --malloc stands beside it."""
    out: Path = Path("runs/report")
    """Folder for report.html, summary.json and figures/."""
    fill: tuple[Path, ...] = ()
    """Markdown files, each with one block or more between lines `<!-- NAME -->` and `<!-- /NAME -->`, which receive
    them. NAME: summary, answers, speed_verdict, an experiment of RESULTS; of representations.py a figure's name."""


def main(args: Args) -> None:
    if not args.results:
        raise InputError("RESULTS: name at least one folder, for example runs/full_comparison")
    from jaxcompare.report.blocks import replace_blocks
    from jaxcompare.report.figure import save_figure
    from jaxcompare.report.html import build_page
    from jaxcompare.report.pictures import draw_pictures
    from jaxcompare.report.results import PAGE_ONLY, gather

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncatedLine)
        results = gather(args.results)
    blocks = results.blocks()
    shown = {name: block for name, block in blocks.items() if name not in PAGE_ONLY}
    # All of them before anything is written.
    filled = {document: replace_blocks(document, shown) for document in args.fill}
    console.check_out(args.out)
    for document in filled:
        console.check_writable(document.parent, "--fill")
    pictures = draw_pictures(results)
    page = build_page(results, pictures)
    for picture in pictures:
        save_figure(picture.figure, args.out / "figures", picture.name)
    write_atomically(args.out / "summary.json", summary_json(results.summary))
    write_atomically(args.out / "report.html", page)
    for document, text in filled.items():
        write_atomically(document, text)
    print("\n\n".join(blocks.values()))
    written = (*(args.out / name for name in ("report.html", "summary.json", "figures")), *filled)
    print(f"\nWritten: {', '.join(map(str, written))}")
    if caught:
        # The report is whole but for it; the status says that it is not all.
        raise InputError("; ".join(str(warning.message) for warning in caught))


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main)
