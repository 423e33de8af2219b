"""An image file as its pixels, or the reason why it is none."""

import contextlib
import os
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxcompare.config import InputError

NAMED = 10
"""So many files a message names; the rest go into a file."""

ORIENTED = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
"""Where an orientation may be. To look for it in every image takes as long as decoding a small one; TIFFs are turned as
they are loaded."""

_one_large = threading.Lock()


class Outcome(NamedTuple):
    """How decoding a file went."""

    path: Path
    problem: str = ""
    """Why it cannot be used; empty if it can."""
    unreadable: bool = False
    """The problem is the operating system's: the file may be sound."""
    several: bool = False
    """It holds more images than the one taken."""


class _Refused(Exception):
    """An image, but not one whose colours are known."""


def shown(name: str | os.PathLike[str]) -> str:
    """A name as a message of one line can hold it: line breaks and bytes that are no text are escaped."""
    text = os.fspath(name)
    return text if text.isprintable() else repr(text)[1:-1]


def unreadable(path: Path, error: OSError) -> InputError:
    """The operating system's reason, in one line."""
    return InputError(f"{shown(path)}: cannot be read ({error.strerror or error}); see to that first")


def decode_files(paths: Sequence[Path], size: int) -> tuple[UInt8[np.ndarray, "n size size 3"], list[Outcome]]:
    """Every file as pixels of `size` times `size`, in order. Those of a file with a problem mean nothing."""
    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    with warnings.catch_warnings():
        # Pillow's warnings name no file. What makes an image useless is an error as well.
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor() as pool:
            return pixels, list(pool.map(_decode, paths, pixels))


def check_files(root: Path, outcomes: Sequence[Outcome], *, skip: bool) -> list[Path]:
    """The files to go on without. Warns once of these, and once of files that hold several images.

    Raises:
        InputError: there are bad files and `skip` does not allow for them. What the operating system does not let be
            read is never passed over: it may be there the next time.
    """
    bad = [one for one in outcomes if one.problem]
    if complaints := [one for one in bad if one.unreadable or not skip]:
        raise _complain(root, complaints, len(outcomes))
    if several := [one.path for one in outcomes if one.several]:
        warnings.warn(
            f"files that hold several images, of which the first is taken: {len(several)}, for one {shown(several[0])}",
            stacklevel=2,
        )
    if bad:
        warnings.warn(f"{len(bad)} of {len(outcomes)} files are left out: {_list(bad, root)}", stacklevel=2)
    return [one.path for one in bad]


def _complain(root: Path, bad: Sequence[Outcome], total: int) -> InputError:
    refused = sum(one.unreadable for one in bad)
    them = "it" if len(bad) == 1 else "them"
    what_to_do = f"remove {them} or replace {them}, or give --skip-bad-images"
    if refused == len(bad):
        what_to_do = "see to that first"
    elif refused:
        what_to_do = "see first to what cannot be read; remove or replace the others, or give --skip-bad-images"
    if len(bad) == 1:
        return InputError(f"{shown(bad[0].path)}: {bad[0].problem}; {what_to_do}")
    return InputError(
        f"--data-dir {shown(root)}: {len(bad)} of {total} files cannot be used: {_list(bad, root)}; {what_to_do}",
        [f"{shown(one.path)}: {one.problem}" for one in bad] if len(bad) > NAMED else (),
    )


def _list(bad: Sequence[Outcome], root: Path) -> str:
    named = [f"{shown(one.path.relative_to(root))} ({one.problem})" for one in bad[:NAMED]]
    return ", ".join(named) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")


def _decode(path: Path, pixels: UInt8[np.ndarray, "size size 3"]) -> Outcome:
    """Decode a file into `pixels`."""
    size = len(pixels)
    try:
        with Image.open(path) as image:
            # Beyond what Pillow warns of, memory is bounded: one at a time, and a JPEG reduced while it is decoded.
            large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf"))
            if large:
                image.draft(None, (size, size))
            with _one_large if large else contextlib.nullcontext():
                several = bool(getattr(image, "is_animated", False))
                pixels[:] = _read(image, size)
                return Outcome(path, several=several)
    except _Refused as error:
        return Outcome(path, str(error))
    except Image.DecompressionBombError as error:
        return Outcome(path, f"taken for a decompression bomb: {_first(error).partition(',')[0]}")
    except MemoryError:
        return Outcome(path, "too large for the memory")
    except UnidentifiedImageError:
        return Outcome(path, "not a readable image")
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        if isinstance(error, OSError) and error.errno is not None:
            return Outcome(path, f"cannot be read ({error.strerror or error})", unreadable=True)
        return Outcome(path, f"not a readable image ({_first(error)})")


def _first(error: Exception) -> str:
    """The first words of a library's error, as one line can hold them."""
    return shown(" ".join(str(error).split())[:100] or type(error).__name__)


def _read(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    image.load()
    if not ORIENTED.isdisjoint(image.info):
        # What cannot be read turns nothing: the image is sound.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    rgb = _to_rgb(image)
    return np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BILINEAR))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel; what is transparent lies on white."""
    # A PGM's 16 bits are Pillow's I, scaled to the same range.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        levels = np.asarray(image)
        grey = np.rint(levels / 257).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            grey[levels == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise _Refused(f"pixels of mode {image.mode}, whose range is not known; 8-bit, or 16-bit grey, is read")
    if image.has_transparency_data:
        rgba, white = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")
