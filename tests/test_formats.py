"""Formats of images: a fixed list, whatever files are called, so that no image has another program run."""

import io
import os
from functools import partial

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from mixkd.images import ImageFiles, decode, fitted, image_formats

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
(went off) print
showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program `gs` that leaves a file when it is called."""
    flag, folder = tmp_path / "went off", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f'#!/bin/sh\ntouch "{flag}"\n')
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once
    return flag


def memory(path):
    return decode(io.BytesIO(path.read_bytes()), str(path), partial(fitted, size=16))


def streamed(path):
    return ImageFiles(path.parent, [path.name], 16).decode()[0].numpy()


READERS = pytest.mark.parametrize("read", [memory, streamed])


@READERS
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps"])
def test_postscript_reaches_no_ghostscript(tmp_path, ghostscript, read, name):
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / name) as image:
        assert image.format == "EPS"  # Pillow by itself would
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image \(it is none of PNG, JPEG, GIF"):
        read(tmp_path / name)
    assert not ghostscript.exists()


@READERS
@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA", "SGI", "JPEG2000", "PDF"])
def test_other_formats_are_named_as_unreadable(tmp_path, read, format):
    content = io.BytesIO()
    Image.new("RGB", (32, 32)).save(content, format)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(it is none of"):
        read(tmp_path / "a.png")


@READERS
@pytest.mark.parametrize("format", image_formats())
def test_formats_of_the_list_are_read(tmp_path, read, format):
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 40, 90)).save(content, format)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    assert np.abs(read(tmp_path / "a.png").astype(int) - np.array([200, 40, 90])[:, None, None]).max() <= 8


def test_the_usual_formats_are_there():
    assert {"PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"} <= set(image_formats())
    assert "EPS" not in image_formats()
