"""Image files as people have them: odd pixels, damage. What cannot be used says why."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from jaxcompare.config import DataConfig, InputError
from jaxcompare.data import image_file
from jaxcompare.data.datasets import load_dataset


def save(path, colour=0, mode="RGB", size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Two classes, two images each, in both splits."""
    return build(tmp_path / "images")


def build(root, parts=("train", "test"), classes=("cat", "dog")):
    for part in parts:
        for label, name in enumerate(classes):
            for number in range(2):
                save(root / part / name / f"{number}.png", (label * 200, number, 0))
    return root


def load(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_dataset(DataConfig("folder", root, image_size=8, **options))


def refuse(root, **options):
    with pytest.raises(InputError) as caught:
        load(root, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def read(path, size=8):
    """The pixels of one file, or its problem."""
    pixels, (outcome,) = image_file.decode_files([path], size)
    return outcome.problem or pixels[0]


def test_sixteen_bits_become_eight(tmp_path):
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels).save(tmp_path / "grey.tiff")
    (tmp_path / "grey.pgm").write_bytes(b"P5 8 8 65535\n" + levels.astype(">u2").tobytes())
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read(path), np.rint(levels / 257).astype(np.uint8)[..., None].repeat(3, -1))


@pytest.mark.parametrize(("mode", "colour"), [("F", 0.5), ("I", 70000)])
def test_pixels_without_a_known_range_are_refused(root, mode, colour):
    save(root / "train" / "cat" / "2.tiff", colour, mode)
    assert f"cat/2.tiff: pixels of mode {mode}, whose range is not known" in refuse(root)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path, suffix, orientation):
    upright = Image.new("RGB", (16, 16), "white")
    ImageDraw.Draw(upright).rectangle((0, 0, 7, 3), "black")
    # What a camera that was held so has stored: a viewer turns it back.
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = upright if stored is None else upright.transpose(Image.Transpose(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"image.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert np.abs(read(tmp_path / f"image.{suffix}", 16).astype(int) - np.asarray(upright)).max() < 60


def test_an_orientation_that_cannot_be_read_turns_nothing(tmp_path):
    save(tmp_path / "image.jpg", (9, 9, 9), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert (read(tmp_path / "image.jpg") == 9).all()


def test_what_is_transparent_lies_on_white(tmp_path):
    save(tmp_path / "rgba.png", (10, 20, 30, 0), "RGBA")
    save(tmp_path / "la.png", (10, 0), "LA")
    save(tmp_path / "key.png", (10, 20, 30), transparency=(10, 20, 30))
    save(tmp_path / "index.gif", 0, "P", transparency=0)
    save(tmp_path / "bytes.png", 0, "P", transparency=b"\0" * 256)
    save(tmp_path / "grey16.png", 500, "I;16", transparency=500)
    for path in tmp_path.iterdir():
        assert (read(path) == 255).all(), path.name
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = np.stack([every, every.T, every[::-1], np.full_like(every, 255)], -1)
    Image.fromarray(colours).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read(tmp_path / "opaque.png", 16), colours[..., :3])


def test_of_an_animation_the_first_frame_is_taken_which_is_said_once(root):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    for name in ("2.gif", "3.png", "4.webp", "5.tiff"):
        frames[0].save(root / "train" / "cat" / name, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"of which the first is taken: 4, for one .*cat/2.gif") as said:
        data = load_dataset(DataConfig("folder", root, image_size=8))
    assert len(said) == 1
    assert (data.train.images[2:6, ..., 0] > 240).all()
    assert (data.train.images[2:6, ..., 1] < 9).all()


def png_of(width, height):
    """The beginning of a PNG of that size."""
    data = b"\0\0\0\x09IDAT" + b"\0" * 20
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + data


def test_large_images_are_reduced_as_they_are_decoded_and_bombs_named(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png_of(60000, 60000))
    assert "taken for a decompression bomb: Image size (3600000000 pixels) exceeds" in read(tmp_path / "bomb.png")
    assert read(save(tmp_path / "large.png", 7, "L", (9500, 9500)))[0, 0, 0] == 7
    drafts, draft = [], Image.Image.draft
    monkeypatch.setattr(
        "PIL.JpegImagePlugin.JpegImageFile.draft", lambda image, *to: drafts.append(image.size) or draft(image, *to)
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    for side in (64, 80):
        save(tmp_path / "some.jpg", (7, 7, 7), size=(side, side))
        assert read(tmp_path / "some.jpg").shape == (8, 8, 3)
    assert drafts == [(80, 80)]


QUICK = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SUFFIXES = ["png", "jpg", "gif", "tiff", "webp", "bmp", "ppm"]


def loads_or_refuses(root, skip):
    """Either a data set, or one line."""
    try:
        data = load(root, skip_bad_images=skip)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert data.train.images.shape[1:] == data.test.images.shape[1:] == (8, 8, 3)
    assert not message or message.isprintable()


@QUICK
@given(
    suffix=st.sampled_from(SUFFIXES),
    keep=st.integers(0, 400),
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4),
    skip=st.booleans(),
)
def test_any_bytes_are_an_image_or_one_line(tmp_path, suffix, keep, edits, skip):
    """Random bytes behind nothing, or in place of some of a sound file's."""
    root = tmp_path / "images"
    if not root.exists():
        build(root)
    path = save(root / "train" / "cat" / f"2.{suffix}", 77)
    content = bytearray(path.read_bytes()[:keep])
    for place, replacement in edits:
        content[place : place + len(replacement)] = replacement
    path.write_bytes(content)
    loads_or_refuses(root, skip)
    path.unlink()
