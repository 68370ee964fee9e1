"""The tab Upscale as programs use it: files as of the command line, limits that hold, visitors apart."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from app_visitor import RefusedError, Visitor, downloads, files, page
from PIL import Image
from small import small

from hkdsr.app.guard import FULL
from hkdsr.cli import upscale as command
from hkdsr.data import ImageData, imresize, rgb, write_image
from hkdsr.data.embedded import demo_files
from hkdsr.nets.files.load import save
from hkdsr.scoring import psnr_y, ssim_y

PIXELS = 210 * 210


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("app")
    (made / "networks").mkdir()
    save(small("compact"), made / "networks" / "own.safetensors", {"licence": "CC0-1.0"})
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with page(folder, "--max-pixels", str(PIXELS), "--max-upload-mb", "0.5", "--queue", "2") as (opened, _):
        yield opened


@pytest.fixture
def visitor(address: str) -> Visitor:
    return Visitor(address)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return rgb(demo_files()[1]["coffee"])[100:141, 200:253]


def deep(photo: np.ndarray) -> ImageData:
    return ImageData(photo.astype(np.uint16) * 257 + 5, profile=b"a profile")


def transparent(photo: np.ndarray) -> ImageData:
    return ImageData(photo, alpha=np.clip(photo[..., 0].astype(int) * 3 - 150, 0, 255).astype(np.uint8))


def grey(photo: np.ndarray) -> ImageData:
    return ImageData(np.repeat(photo[..., :1], 3, axis=2), grey=True)


@pytest.mark.parametrize("kind", [deep, transparent, grey])
def test_the_file_is_that_of_the_command(
    kind: Callable[[np.ndarray], ImageData], visitor: Visitor, photo: np.ndarray, tmp_path: Path
) -> None:
    write_image(tmp_path / "photo.png", kind(photo))
    command.run([str(tmp_path / "photo.png"), "-m", "tiny_x4"])
    shown = visitor.enlarge(visitor.upload(tmp_path / "photo.png"))
    (file,) = downloads(shown)
    assert Path(file).name == "photo_tiny_x4.png"
    assert visitor.fetch(file).content == (tmp_path / "photo_x4.png").read_bytes()
    assert shown["text"] == "x4: 212x164 pixels"


def test_an_image_on_its_side_is_shown_and_written_upright(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a cup"
    Image.fromarray(photo).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    shown = visitor.enlarge(visitor.upload(tmp_path / "photo.jpg"))
    command.run([str(tmp_path / "photo.jpg"), "-m", "tiny_x4"])
    (file,) = downloads(shown)
    assert visitor.fetch(file).content == (tmp_path / "photo_x4.png").read_bytes()
    for side in shown["slider"]:
        assert view(visitor, side).shape == (4 * 53, 4 * 41, 3)


def view(visitor: Visitor, side: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(visitor.fetch(side["path"]).content)))


def test_the_slider_shows_bicubic_and_the_network(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    shown = visitor.enlarge(visitor.upload(tmp_path / "photo.png"))
    left, right = (view(visitor, side) for side in shown["slider"])
    np.testing.assert_array_equal(left, imresize(photo, 4))
    command.run([str(tmp_path / "photo.png"), "-m", "tiny_x4"])
    np.testing.assert_array_equal(right, rgb(tmp_path / "photo_x4.png"))


def test_transparent_parts_are_shown_as_such(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[:, 30:] = 255
    write_image(tmp_path / "photo.png", ImageData(photo, alpha=alpha))
    seen = view(visitor, visitor.enlarge(visitor.upload(tmp_path / "photo.png"))["slider"][1])
    assert set(map(tuple, seen[:, :100].reshape(-1, 3))) == {(205, 205, 205), (245, 245, 245)}
    assert len(set(map(tuple, seen[:, 140:].reshape(-1, 3)))) > 1000


def test_an_hr_image_gives_scores_and_a_map(visitor: Visitor, tmp_path: Path) -> None:
    hr = rgb(demo_files()[1]["coffee"])[100:301, 200:402]
    cut = hr[:200, :200]
    Image.fromarray(hr).save(tmp_path / "hr.png")
    Image.fromarray(imresize(cut, 0.25)).save(tmp_path / "lr.png")
    lr, truth = visitor.upload(tmp_path / "lr.png", tmp_path / "hr.png")
    shown = visitor.enlarge([lr], ["tiny_x4"], [truth])
    (tmp_path / "sr.png").write_bytes(visitor.fetch(downloads(shown)[0]).content)
    sr = rgb(tmp_path / "sr.png")
    assert f"| tiny_x4 | {psnr_y(sr, cut, 4):.2f} dB | {ssim_y(sr, cut, 4):.4f} |" in str(shown["text"])
    assert f"| bicubic | {psnr_y(imresize(imresize(cut, 0.25), 4), cut, 4):.2f} dB |" in str(shown["text"])
    names = [name for name, _ in shown["left"]["choices"]]
    assert names == ["bicubic", "tiny_x4", "HR", "tiny_x4, off HR"]
    switched = visitor.ask("switch", "lr.png", "HR", "tiny_x4, off HR")
    np.testing.assert_array_equal(view(visitor, switched[2][0]), cut)
    off = view(visitor, switched[2][1])
    np.testing.assert_array_equal(off.max(axis=2) == 0, (sr == cut).all(axis=2))


def test_an_hr_image_of_another_size_is_refused(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(photo).save(tmp_path / "hr.png")
    with pytest.raises(RefusedError, match=r"HR image hr.png has 53x41 pixels, but photo.png enlarged has 212x164: "):
        visitor.enlarge(visitor.upload(tmp_path / "photo.png"), ["tiny_x4"], visitor.upload(tmp_path / "hr.png"))


def test_several_images_and_networks_come_as_one_file_too(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(photo[: 20 + ord(name[0]) % 7]).save(tmp_path / name)
    shown = visitor.enlarge(visitor.upload(tmp_path / "a.png", tmp_path / "b.png"), ["small_x2", "own.safetensors"])
    packed, *single = downloads(shown)
    assert [Path(file).name for file in single] == [f"{a}_{b}.png" for a in "ab" for b in ("small_x2", "own")]
    with zipfile.ZipFile(BytesIO(visitor.fetch(packed).content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            Path(file).name: visitor.fetch(file).content for file in single
        }
    assert shown["image"]["choices"] == [["a.png", "a.png"], ["b.png", "b.png"]]
    assert view(visitor, visitor.ask("switch", "b.png", "own.safetensors", "bicubic")[2][0]).shape[:2] == (40, 106)


def test_mistakes_are_sentences(address: str, visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(b"")
    Image.new("L", (210, 211)).save(tmp_path / "large.png")
    cases = {
        "bad.png": "cannot be read",
        "cut.png": "cannot be read",
        "large.png": r"large.png has 44,310 pixels, more than the 44,100 that are taken: .* page with --max-pix",
    }
    for name, said in cases.items():
        with pytest.raises(RefusedError, match=said):
            visitor.enlarge(visitor.upload(tmp_path / name))
    with pytest.raises(RefusedError, match="here are no images yet"):
        visitor.enlarge([])
    Image.fromarray(photo).save(tmp_path / "photo.png")
    uploads = visitor.upload(tmp_path / "photo.png")
    with pytest.raises(RefusedError, match=r"[Nn]o network is chosen"):
        visitor.enlarge(uploads, [])
    (gone,) = Visitor(address).upload(tmp_path / "bad.png")
    Path(gone).unlink()
    with pytest.raises(RefusedError, match=r"bad.png is not here any more: choose it again"):
        Visitor(address).enlarge([gone])


def test_a_large_file_is_refused_while_it_comes(visitor: Visitor, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(600_000))
    with pytest.raises(RefusedError, match="maximum allowed size"):
        visitor.upload(tmp_path / "large.png")


def test_what_a_visitor_has_goes_when_it_leaves(visitor: Visitor, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo[:20]).save(tmp_path / "photo.png")
    uploads = visitor.upload(tmp_path / "photo.png")
    (file,) = downloads(visitor.enlarge(uploads))
    assert Path(file).exists()
    visitor.leave()
    until(lambda: not Path(file).exists() and not Path(uploads[0]).exists())
    assert not Path(file).parent.parent.exists()


def test_who_leaves_takes_nothing_from_others(address: str, photo: np.ndarray, tmp_path: Path) -> None:
    """Both have uploaded the same file."""
    Image.fromarray(photo[:20]).save(tmp_path / "photo.png")
    one, other = Visitor(address), Visitor(address)
    first = one.upload(tmp_path / "photo.png")
    (file,) = downloads(one.enlarge(first))
    second = other.upload(tmp_path / "photo.png")
    one.leave()
    until(lambda: not Path(file).exists())
    assert len(downloads(other.enlarge(second))) == 1


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_networks_of_visitors_are_off_unless_they_are_allowed(visitor: Visitor, folder: Path, tmp_path: Path) -> None:
    assert "bring" not in visitor.events
    network = Path(shutil.copy(folder / "networks" / "own.safetensors", tmp_path / "mine.safetensors"))
    (path,) = visitor.upload(network)
    with pytest.raises(RefusedError):
        visitor.ask("describe", [path])


def test_a_full_queue_is_said(address: str, photo: np.ndarray, tmp_path: Path) -> None:
    """One works, two wait, and the next is refused; all who were taken get their images."""
    Image.fromarray(np.tile(photo, (4, 3, 1))).save(tmp_path / "photo.png")
    visitors = [Visitor(address) for _ in range(12)]
    uploads = visitors[0].upload(tmp_path / "photo.png")
    taken, refused = [], []
    for visitor in visitors:
        visitor.ask("begin", files(uploads))
    for visitor in visitors:
        try:
            visitor.join("work", files(uploads), ["own.safetensors"], [])
            taken.append(visitor)
        except RefusedError as error:
            refused.append(str(error))
    assert len(taken) >= 2
    assert refused
    assert set(refused) == {FULL}
    assert [len(visitor.result()[-1]["value"]) for visitor in taken] == [1] * len(taken)
