"""Blocks of a Markdown file that a report fills."""

import re
from collections.abc import Mapping
from pathlib import Path

from jaxcompare.config import InputError

MARK = re.compile(r"^<!-- (/?)(\w+) -->$", re.MULTILINE)
"""A line of a Markdown file that opens or closes the block of a name."""


def replace_blocks(document: Path, blocks: Mapping[str, str]) -> str:
    """A Markdown file's text with new blocks between its lines `<!-- NAME -->` and `<!-- /NAME -->`, of whichever of
    `blocks` it has. Nothing is written.

    Raises:
        InputError: the file has no block, one that is not closed, or one that is not among `blocks`.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{document}: cannot be read ({reason})") from error
    marks, names = list(MARK.finditer(text)), ", ".join(blocks)
    if not marks:
        raise InputError(f"{document}: has no block; put <!-- NAME --> and <!-- /NAME --> on two lines, of {names}")
    parts, end = [], 0
    for opening, closing in zip(marks[::2], [*marks[1::2], None], strict=False):
        name = opening[2]
        if opening[1] or closing is None or closing.groups() != ("/", name):
            raise InputError(f"{document}: <!-- {name} --> and <!-- /{name} --> do not enclose a block; mend the marks")
        if name not in blocks:
            raise InputError(f"{document}: nothing fills <!-- {name} -->; give the folder of its records ({names})")
        parts += [text[end : opening.end()], "\n", blocks[name], "\n"]
        end = closing.start()
    return "".join([*parts, text[end:]])
