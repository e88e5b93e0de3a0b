"""Folders and zips as people have them: nothing is dropped or misread in silence, and nothing hostile is read at all."""

import contextlib
import io
import os
import struct
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mixkd import folders
from mixkd.data import data_identity, load_data
from mixkd.images import ImageFiles, decode, fitted

COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40)}


def encoded(colour=(200, 40, 40), seed=0, format="PNG", **options):
    pixels = np.random.RandomState(seed).randint(-30, 30, (16, 16, 3)) + np.array(colour)
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, format, **options)
    return content.getvalue()


@pytest.fixture
def pets(tmp_path):
    return plant(tmp_path / "pets")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def plant(top, parts=("train", "test"), per_class=4):
    for part in parts:
        for k, (label, colour) in enumerate(COLOURS.items()):
            folder = top / part / label
            folder.mkdir(parents=True)
            for i in range(per_class):
                (folder / f"{i}.png").write_bytes(encoded(colour, seed=[sum(map(ord, part)), k, i]))
    return top


def sizes(path, cache):
    return {name: len(split.labels) for name, split in load_data(f"folder:{path}", cache=cache).splits.items() if name != "train_eval"}


PLAIN = {"train": 7, "val": 1, "test": 8}


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/cat/all", "../.."),
        ("train/cat/up", "../../.."),
        ("train/cat/more", "../dog"),
        ("train/cat/self", "."),
        ("train/cat/held out", "../../test/cat"),
        ("train/cat/x.png", "../dog/0.png"),
        ("train/cat/x.png", "0.png"),
        ("train/cat/x.png", "nowhere.png"),
        ("train/cat/x.png", "x.png"),
        ("train/cat/gone", "nowhere"),
    ],
)
def test_a_link_back_into_the_data_or_to_nothing_is_refused(pets, cache, link, target, streamed):
    (pets / link).symlink_to(target)
    if target == "nowhere":  # neither a folder nor an image: reported with what is left out
        with pytest.warns(UserWarning, match=r"left out.*train/cat/gone"):
            data_identity(f"folder:{pets}", cache=cache)
        return
    with pytest.raises(ValueError, match=rf"{link} is a link to .*remove it") as error:
        data_identity(f"{'stream' if streamed else 'folder'}:{pets}", cache=cache)
    assert "\n" not in str(error.value)


def test_links_to_elsewhere_are_followed_once(pets, tmp_path, cache):
    whole = sizes(pets, cache)
    (pets / "train" / "cat").rename(tmp_path / "cats")
    (pets / "train" / "cat").symlink_to(tmp_path / "cats")
    (pets / "test" / "dog" / "0.png").rename(tmp_path / "blob")
    (pets / "test" / "dog" / "0.png").symlink_to(tmp_path / "blob")
    (tmp_path / "linked").symlink_to(pets)
    assert sizes(pets, cache) == sizes(tmp_path / "linked", cache) == whole
    (pets / "train" / "owl").symlink_to(tmp_path / "cats")
    with pytest.raises(ValueError, match=r"are one folder, by a link; remove the link"):
        sizes(pets, cache)


# --- what counts as an image ------------------------------------------------------------------------------------------


def test_every_suffix_and_none_is_read_and_the_rest_is_reported(pets, cache):
    folder = pets / "train" / "cat"
    for name, format in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.AVIF", "AVIF"), ("d", "PNG"), ("e.webp", "WEBP"), ("f", "JPEG")):
        try:
            (folder / name).write_bytes(encoded(format=format))
        except KeyError:  # a Pillow without that format
            (folder / name).write_bytes(encoded())
    for name in ("notes.txt", "README", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"no image of anything")
    (pets / "train" / "loose.png").write_bytes(encoded())
    (pets / "classes.tsv").write_text("cat\tdog")
    zipped = zip_of(pets, pets.parent / "zipped.zip")
    for path in (pets, zipped):
        with pytest.warns(UserWarning, match=r"left out, .*: train/cat/README, train/cat/notes.txt, train/loose.png$"):
            found = sizes(path, cache)
        assert sum(found.values()) == 16 + 6


def zip_of(top, path, name=lambda name: name):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*")):
            if file.is_file():
                archive.writestr(name(file.relative_to(top).as_posix()), file.read_bytes())
    return path


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val", "VALID"])
def test_validation_under_any_of_its_names_is_used(tmp_path, cache, name):
    pets = plant(tmp_path / "pets", parts=("train", "test", name))
    assert sizes(pets, cache) == {"train": 8, "val": 8, "test": 8}
    alone = plant(tmp_path / "alone", parts=("Train", name))
    assert sizes(alone, cache) == PLAIN


def test_two_folders_of_one_split_are_named(tmp_path, cache):
    with pytest.raises(ValueError, match=r"(val and valid|valid and val) are both val"):
        sizes(plant(tmp_path / "pets", parts=("train", "test", "val", "valid")), cache)


def test_a_folder_that_is_no_split_is_reported(tmp_path, cache):
    pets = plant(tmp_path / "pets", parts=("train", "test", "extra"))
    with pytest.warns(UserWarning, match=r"left out, .*: extra/cat/0.png, .* and 5 more"):
        assert sizes(pets, cache) == PLAIN


def test_names_that_look_alike_are_shown_apart(pets, cache):
    (pets / "train" / "cat").rename(pets / "train" / "caf\u00e9")
    (pets / "test" / "cat").rename(pets / "test" / "cafe\u0301")
    with pytest.raises(ValueError, match=r"only in train: 'caf\\xe9'; only in test: 'cafe\\u0301'"):
        sizes(pets, cache)
    (pets / "train" / "caf\u00e9").rename(pets / "train" / "cat")
    (pets / "test" / "cafe\u0301").rename(pets / "test" / "cat ")
    with pytest.raises(ValueError, match=r"only in train: cat; only in test: 'cat '"):
        sizes(pets, cache)


# --- pixels -----------------------------------------------------------------------------------------------------------


def memory(path):
    return decode(io.BytesIO(path.read_bytes()), str(path), partial(fitted, size=16))


def streamed(path):
    return ImageFiles(path.parent, [path.name], 16).decode()[0].numpy()


READERS = pytest.mark.parametrize("read", [memory, streamed])


@READERS
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "RGB with one transparent colour"])
def test_what_is_transparent_is_white(tmp_path, read, mode):
    ink = Image.new("RGBA", (32, 32), (0, 0, 0, 0))  # black throughout: the form is in the alpha channel
    ink.paste((0, 0, 0, 255), (0, 0, 16, 32))
    path = tmp_path / "a.png"
    if mode == "RGB with one transparent colour":
        image = Image.new("RGB", (32, 32), (9, 9, 9))
        image.paste((0, 0, 0), (0, 0, 16, 32))
        image.save(path, transparency=(9, 9, 9))
    elif mode == "P":
        image = Image.new("P", (32, 32), 1)
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.paste(0, (0, 0, 16, 32))
        image.save(path, transparency=1)
    elif mode == "PA":
        path = tmp_path / "a.webp"
        ink.save(path, lossless=True)
    else:
        ink.convert(mode).save(path)
    pixels = read(path)
    assert pixels[:, :, :6].max() < 10
    assert pixels[:, :, 10:].min() > 245


@READERS
def test_an_opaque_image_with_alpha_is_what_it_was(tmp_path, read):
    plain = Image.open(io.BytesIO(encoded()))
    plain.save(tmp_path / "plain.png")
    plain.convert("RGBA").save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "plain.png"), read(tmp_path / "alpha.png"))


@READERS
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_stop_an_image_that_pillow_reads(tmp_path, read):
    blocks = {
        "junk": b"Exif\0\0" + b"\xff" * 40,
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01",
        "far": b"Exif\0\0II*\0" + struct.pack("<I", 2**31),
        "text": b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x0112, 2, 4, b"six\0") + b"\0" * 4,
    }
    for name, block in blocks.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(encoded(format="JPEG", exif=block))
        assert abs(int(read(path)[0].mean()) - 200) < 10, name


@READERS
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_that_of_pillow(tmp_path, read, turn):
    from PIL import ImageOps

    image = Image.new("RGB", (32, 32), (0, 0, 0))
    image.paste((250, 250, 250), (0, 0, 24, 8))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        ImageOps.exif_transpose(opened).save(tmp_path / "b.png", exif=Image.Exif())
    assert np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


def test_other_pixels_of_the_same_size_and_time_have_another_digest(pets, cache):
    file = pets / "train" / "cat" / "0.png"
    first, second = (encoded(seed=seed, compress_level=0) for seed in (1, 2))
    assert len(first) == len(second)
    file.write_bytes(first)
    os.utime(file, ns=(10**18, 10**18))
    before, shown = data_identity(f"folder:{pets}", cache=cache), load_data(f"folder:{pets}", cache=cache)
    file.write_bytes(second)
    os.utime(file, ns=(10**18, 10**18))
    assert data_identity(f"folder:{pets}", cache=cache) != before
    now = load_data(f"folder:{pets}", cache=cache)
    pixels = [np.concatenate([data.splits[part].images.numpy() for part in ("train", "val")]) for data in (shown, now)]
    assert not np.array_equal(*pixels)


# --- what is hostile or damaged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device"])
def test_only_regular_files_are_opened(pets, cache, kind):
    path = pets / "train" / "cat" / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        assert sizes(pets, cache) == PLAIN  # a folder of that name holds images, or none
        return
    else:
        path.symlink_to("/dev/zero")
    for name in ("folder", "stream"):
        with pytest.raises(ValueError, match=r"train/cat/x.png is no regular file"):
            data_identity(f"{name}:{pets}", cache=cache)


def test_a_pipe_without_a_suffix_is_left_out(pets, cache):
    os.mkfifo(pets / "train" / "cat" / "x")
    with pytest.warns(UserWarning, match=r"left out.*train/cat/x$"):
        assert sizes(pets, cache) == PLAIN
    os.mkfifo(pets.parent / "pipe.zip")
    with pytest.raises(ValueError, match="neither a directory nor a regular file"):
        load_data(f"folder:{pets.parent / 'pipe.zip'}", cache=cache)


def test_an_image_of_too_many_bytes_is_never_read(pets, cache, monkeypatch):
    monkeypatch.setattr(folders, "_LARGEST", 5000)
    (pets / "train" / "cat" / "x.png").write_bytes(bytes(5001))
    for path in (pets, zip_of(pets, pets.parent / "z.zip")):
        with pytest.raises(ValueError, match=r"train/cat/x.png is of .* MiB; an image file may have"):
            load_data(f"folder:{path}", cache=cache)


def test_a_zip_with_backslashes_is_that_with_slashes(pets, cache, tmp_path):
    straight = zip_of(pets, tmp_path / "a.zip")
    content = straight.read_bytes()
    for part in ("train", "test"):
        for label in COLOURS:
            content = content.replace(f"{part}/{label}/".encode(), f"{part}\\{label}\\".encode())
    (tmp_path / "b.zip").write_bytes(content)
    assert b"train\\cat\\0.png" in content
    digests = {data_identity(f"folder:{path}", cache=cache).split("@")[1] for path in (pets, straight, tmp_path / "b.zip")}
    assert len(digests) == 1
    assert sizes(tmp_path / "b.zip", cache) == PLAIN


@pytest.mark.parametrize(
    ("offset", "value"),
    [(6, 99), (6, 255), (10, 14), (10, 12), (10, 99), (8, 1), (20, 7), (42, 255)],
    ids=["version 9.9", "version 25.5", "lzma", "bzip2", "no method", "encrypted", "size", "place"],
)
def test_every_error_of_a_zip_is_one_line(pets, cache, tmp_path, offset, value):
    """One byte of the last entry of the directory of a zip, by its place in that entry."""
    path = zip_of(pets, tmp_path / "z.zip")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"z\.zip") as error:
        load_data(f"folder:{path}", cache=cache)
    assert "\n" not in str(error.value)


def test_many_damaged_zips_are_one_line_or_whole(pets, tmp_path):
    whole = zip_of(pets, tmp_path / "z.zip").read_bytes()
    random = np.random.RandomState(0)
    for trial in range(60):
        content = bytearray(whole)
        for place in random.randint(len(whole) * 3 // 4, len(whole), size=random.randint(1, 6)):
            content[place] = random.randint(256)
        path = tmp_path / f"{trial}.zip"
        path.write_bytes(content)
        with warnings.catch_warnings(), contextlib.suppress(ValueError):  # any other error fails
            warnings.simplefilter("ignore")  # a name that no longer ends as an image's is left out
            data_identity(f"folder:{path}", cache=tmp_path / "cache")
