"""Files and folders to upscale: what is written where, in which format, and what is never replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from limited import files_up_to
from PIL import Image
from test_deploy_upscale import Nearest, street
from tiny import QUIET

from hkdsr.data import ImageData, imresize, read_image, rgb, write, write_image
from hkdsr.deploy.enlarge_file import Handling
from hkdsr.deploy.upscale import upscale
from hkdsr.deploy.upscale_files import upscale_file
from hkdsr.errors import HkdsrError

__all__ = ["street"]  # the fixture


def test_a_file_keeps_its_grey_alpha_depth_and_profile(tmp_path: Path, street: np.ndarray) -> None:
    deep = street.astype(np.uint16) * 257 + 3
    grey = np.repeat(deep[..., :1], 3, axis=2)
    write_image(tmp_path / "in.png", ImageData(grey, alpha=deep[..., 1], grey=True, profile=b"a profile"))
    upscale_file(
        Nearest(), tmp_path / "in.png", tmp_path / "new" / "out.png", handling=Handling(tile=64, progress=False)
    )
    upscaled = read_image(tmp_path / "new" / "out.png")
    assert upscaled.grey
    assert upscaled.profile == b"a profile"
    np.testing.assert_array_equal(upscaled.colour[::2, ::2], grey)
    assert upscaled.alpha is not None
    np.testing.assert_array_equal(upscaled.alpha, imresize(deep[..., 1], 2))


def test_the_targets_suffix_names_the_format(tmp_path: Path, street: np.ndarray) -> None:
    write_image(tmp_path / "in.png", ImageData(street, alpha=street[..., 0]))
    with pytest.raises(HkdsrError, match=r"out.jpg cannot hold transparency: name it \.png"):
        upscale_file(Nearest(), tmp_path / "in.png", tmp_path / "out.jpg", handling=QUIET)
    upscale_file(Nearest(), tmp_path / "in.png", tmp_path / "out.webp", handling=QUIET)
    seen = street[..., 0] > 0
    np.testing.assert_array_equal(rgb(tmp_path / "out.webp")[::2, ::2][seen], street[seen])


@pytest.mark.parametrize("target", ["in.png", ".", "link.png", "linked"])
def test_a_image_is_never_replaced_by_its_own_result(tmp_path: Path, street: np.ndarray, target: str) -> None:
    write_image(tmp_path / "in.png", ImageData(street))
    (tmp_path / "link.png").symlink_to(tmp_path / "in.png")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(HkdsrError, match="is also the source: name another target"):
        upscale_file(Nearest(), tmp_path / "in.png", tmp_path / target, handling=QUIET)
    np.testing.assert_array_equal(rgb(tmp_path / "in.png"), street)


def test_nor_are_the_images_of_a_folder(tmp_path: Path, street: np.ndarray) -> None:
    write_image(tmp_path / "in" / "a.png", ImageData(street))
    (tmp_path / "linked").symlink_to(tmp_path / "in", target_is_directory=True)
    for target in ("in", "linked"):
        with pytest.raises(HkdsrError, match="is also the source: name another target"):
            upscale_file(Nearest(), tmp_path / "in", tmp_path / target, handling=QUIET)


def test_a_image_goes_into_a_folder_under_its_name(tmp_path: Path, street: np.ndarray) -> None:
    write_image(tmp_path / "in.png", ImageData(street))
    (tmp_path / "out").mkdir()
    assert upscale_file(Nearest(), tmp_path / "in.png", tmp_path / "out", handling=QUIET) == tmp_path / "out" / "in.png"
    np.testing.assert_array_equal(rgb(tmp_path / "out" / "in.png")[::2, ::2], street)


def test_the_result_of_a_link_lies_beside_the_link(tmp_path: Path, street: np.ndarray) -> None:
    write_image(tmp_path / "real" / "IMG_1.png", ImageData(street))
    (tmp_path / "photo.png").symlink_to(tmp_path / "real" / "IMG_1.png")
    assert upscale_file(Nearest(), tmp_path / "photo.png", handling=QUIET) == tmp_path / "photo_x2.png"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["IMG_1.png"]


def test_mistakes_are_found_before_anything_is_made(tmp_path: Path, street: np.ndarray) -> None:
    with pytest.raises(HkdsrError, match="there is no image at"):
        upscale_file(Nearest(), tmp_path / "absent.png", tmp_path / "new" / "out.png", handling=QUIET)
    write_image(tmp_path / "in" / "a.png", ImageData(street))
    with pytest.raises(HkdsrError, match=r"^tile is 8: leave it out"):
        upscale_file(Nearest(), tmp_path / "in", tmp_path / "out", handling=Handling(tile=8, progress=False))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_a_file_of_the_same_name_cannot_hold_becomes_png(
    tmp_path: Path, street: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write_image(source / "long.webp", ImageData(street))
    write_image(source / "short.webp", ImageData(street[:20, :20]))
    Image.fromarray(np.dstack((street, street[..., 0]))).save(source / "clear.jpg", "PNG")  # as browsers save them
    Image.fromarray(street[..., 0].astype(np.uint16) * 257).save(source / "deep.tif")
    monkeypatch.setitem(write.LONGEST, ".webp", 200)
    upscale_file(Nearest(), source, target, handling=QUIET)
    names = sorted(path.name for path in target.iterdir())
    assert names == ["clear.jpg.png", "deep.tif.png", "long.webp.png", "short.webp"]
    assert read_image(target / "clear.jpg.png").alpha is not None
    assert read_image(target / "deep.tif.png").colour.dtype == np.uint16
    np.testing.assert_array_equal(rgb(target / "long.webp.png")[::2, ::2], street)


def test_a_folder_ends_where_nothing_can_be_written(tmp_path: Path, street: np.ndarray) -> None:
    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", ImageData(street[:16, :16]))
    told = r"^cannot write \S*a\.png \(File too large\): free space or choose another folder$"
    with files_up_to(100), pytest.raises(HkdsrError, match=told):
        upscale_file(Nearest(), tmp_path / "in", tmp_path / "out", handling=QUIET)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_is_finished_in_spite_of_bad_images(tmp_path: Path, street: np.ndarray) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_image(source / "a.png", ImageData(street))
    write_image(source / "z.jpg", ImageData(street))
    (source / "m.png").write_bytes((source / "a.png").read_bytes()[:500])
    with pytest.raises(HkdsrError, match=r"1 of 3 images are missing from .*out \(.*m\.png cannot be read") as caught:
        upscale_file(Nearest(), source, target, handling=QUIET)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("repair them and run again")
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "z.jpg"]
    np.testing.assert_array_equal(rgb(target / "a.png")[::2, ::2], street)
    loss = np.abs(rgb(target / "z.jpg").astype(float) - upscale(Nearest(), rgb(source / "z.jpg"))).mean()
    assert loss < 3


def test_what_is_left_out_of_a_folder_is_logged(
    tmp_path: Path, street: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    write_image(source / "a.png", ImageData(street[:32, :32]))
    for name in ("b.gif", "notes.txt", "x.mp4", ".hidden"):
        (source / name).touch()
    upscale_file(Nearest(), source, tmp_path / "out", handling=QUIET)
    (message,) = caplog.messages
    assert message == f"left out of {source}, as they are not image files: b.gif, notes.txt, sub and 1 more"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
