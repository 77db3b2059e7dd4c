from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tflq.datasets.decode import decode_image
from tflq.datasets.images import Images
from tflq.errors import DatasetError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = PIXELS[..., 0]


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def palette_with_transparency() -> bytes:
    picture = Image.fromarray(PIXELS // 64 * 64).quantize(16)
    return encoded(picture, transparency=bytes(range(16)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = ["cat/2.png", "cat/10.JPG", "dog/deep/a.jpeg", "ant/.hidden.png", ".cache/b.png", "cat/notes.txt"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(PIXELS), "PNG" if name.endswith("png") else "JPEG"))
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (encoded(Image.fromarray(PIXELS)), PIXELS),
        (encoded(Image.fromarray(GRAY)), GRAY[..., None]),
        (encoded(Image.fromarray(PIXELS).convert("RGBA")), PIXELS),
        (encoded(Image.fromarray(GRAY).convert("LA")), GRAY[..., None]),
        (encoded(Image.fromarray(GRAY > 127)), (GRAY[..., None] > 127) * 255),
        (encoded(Image.fromarray(GRAY.astype(np.uint16) * 256 + 99)), GRAY[..., None]),
        (palette_with_transparency(), np.asarray(Image.fromarray(PIXELS // 64 * 64).quantize(16).convert("RGB"))),
    ],
    ids=["RGB", "gray", "RGBA", "gray and alpha", "bilevel", "16 bits", "palette"],
)
def test_decode_gives_one_channel_or_three(data: bytes, pixels: np.ndarray) -> None:
    decoded = decode_image(data, "picture")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_decode_gives_the_channels_that_are_told(mode: str, channels: int) -> None:
    picture = Image.fromarray(GRAY)
    decoded = decode_image(encoded(picture), "picture", channels)
    np.testing.assert_array_equal(decoded, np.asarray(picture.convert(mode)).reshape(6, 8, channels))


def test_decode_of_cmyk_and_of_a_turned_photograph() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.fromarray(PIXELS)
    assert decode_image(encoded(picture, "JPEG", exif=turned), "photograph").shape == (6, 8, 3)
    assert decode_image(encoded(picture.convert("CMYK"), "JPEG"), "print").shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an image in a known format"),
        (b"GIF 89", "is not an image in a known format"),
        (encoded(Image.fromarray(PIXELS), "JPEG")[:-30], "is a broken image: image file is truncated"),
        (encoded(Image.fromarray(PIXELS))[:60], "is a broken image: "),
    ],
)
def test_broken_image_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "photo.png").write_bytes(data)
    (row,) = Images(images=tmp_path).rows([0])
    assert row["file"] == "photo.png"
    with pytest.raises(DatasetError) as error:
        row["image"]
    assert str(error.value).startswith(f"{tmp_path}/photo.png: {message}")


def test_images_are_found_in_order(photos: Path) -> None:
    dataset = Images(images=photos)
    assert dataset.count() == 3
    rows = list(dataset.rows([0, 1, 2]))
    assert [dict(row) | {"image": 0} for row in rows] == [
        {"image": 0, "file": name} for name in ("cat/10.JPG", "cat/2.png", "dog/deep/a.jpeg")
    ]
    np.testing.assert_array_equal(rows[1]["image"], PIXELS)


def test_labels_are_the_places_of_the_folders(photos: Path) -> None:
    rows = Images(images=photos, labels="folders").rows([0, 2])
    assert [(row["file"], row["label"]) for row in rows] == [("cat/10.JPG", 1), ("dog/deep/a.jpeg", 2)]


def test_image_without_a_folder_has_no_label(photos: Path) -> None:
    (photos / "stray.png").write_bytes(encoded(Image.fromarray(PIXELS)))
    with pytest.raises(DatasetError) as error:
        Images(images=photos, labels="folders").count()
    assert str(error.value) == (
        f"{photos}/stray.png: has no label, because it is not in a sub-folder: move it into the folder of its class,"
        " or use labels: none"
    )


def test_labels_of_a_table(photos: Path) -> None:
    table = photos.parent / "labels.csv"
    table.write_text("\ufefflabel,split,file\n 7,test,dog/deep/a.jpeg\n-0.5,test,cat/2.png\n", encoding="utf-8")
    dataset = Images(images=photos, labels=table)
    assert dataset.count() == 2
    rows = [(row["file"], row["label"]) for row in dataset.rows([0, 1])]
    assert rows == [("dog/deep/a.jpeg", 7), ("cat/2.png", -0.5)]
    assert [type(label) for _, label in rows] == [int, float]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{table}:1: the header should be: file,label"),
        ("a.png,1\n", "{table}:1: the header should be: file,label"),
        ("file,label\ncat/2.png,1\ncat/3.png,2\n", "{table}:3: there is no file {photos}/cat/3.png"),
        (
            "file,label\ncat/2.png,cat\n",
            "{table}:2: the label 'cat' is not a number: give the index of the class, from 0",
        ),
        ("file,label\ncat/2.png\n", "{table}:2: the label '' is not a number: give the index of the class, from 0"),
        (
            "file,label\ncat/2.png,nan\n",
            "{table}:2: the label 'nan' is not a number: give the index of the class, from 0",
        ),
        (
            b"file,label\n\xff,1\n",
            "{table}:2: is not UTF-8 text: save the table as CSV in UTF-8",
        ),
    ],
)
def test_table_that_cannot_label(photos: Path, text: str | bytes, message: str) -> None:
    table = photos.parent / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError) as error:
        Images(images=photos, labels=table).count()
    assert str(error.value) == message.format(table=table, photos=photos)


def test_folders_and_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/absent: there is no such folder$"):
        Images(images=tmp_path / "absent").count()
    with pytest.raises(DatasetError, match=r"/absent\.csv: cannot be read: No such file or directory$"):
        Images(images=tmp_path, labels=tmp_path / "absent.csv").count()
    with pytest.raises(DatasetError, match=r": has no image: there is no \.jpg, \.jpeg, \.png file$"):
        Images(images=tmp_path).count()
