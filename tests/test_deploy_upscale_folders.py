"""Folders of images: sub-folders, what is done already, and the report of what became of each image."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hostile import heard
from test_deploy_upscale import street
from tiny import QUIET

from hkdsr.__main__ import main
from hkdsr.data import ImageData, rgb, write_image
from hkdsr.deploy.upscale_files import upscale_file, upscale_files
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import save

__all__ = ["street"]  # the fixture
TREE = ("a.png", "b/a.jpg", "b/c/d.webp")


@pytest.fixture
def photos(tmp_path: Path, street: np.ndarray) -> Path:
    for index, name in enumerate(TREE):
        write_image(tmp_path / "photos" / name, ImageData(street[index : index + 24, :20]))
    (tmp_path / "photos" / "b" / "notes.txt").touch()
    return tmp_path / "photos"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sub_folders_keep_their_place(photos: Path) -> None:
    with heard() as notes:
        target = upscale_file(tiny.nearest(2), photos, handling=replace(QUIET, recursive=True))
    assert target == photos.with_name("photos_x2")
    assert set(files(target)) == set(TREE)
    np.testing.assert_array_equal(rgb(target / "b/c/d.webp")[::2, ::2], rgb(photos / "b/c/d.webp"))
    assert notes == [f"left out of {photos / 'b'}, as they are not image files: notes.txt"]


def test_results_inside_the_folder_are_not_enlarged(photos: Path) -> None:
    for _ in range(2):
        upscale_file(tiny.nearest(2), photos, photos / "large", replace(QUIET, recursive=True, overwrite=True))
    assert set(files(photos / "large")) == set(TREE)


def test_links_of_folders_are_not_followed(photos: Path) -> None:
    (photos / "b" / "up").symlink_to(photos, target_is_directory=True)
    target = upscale_file(tiny.nearest(2), photos, handling=replace(QUIET, recursive=True))
    assert set(files(target)) == set(TREE)


def test_a_folder_goes_on_where_it_was_stopped(photos: Path, street: np.ndarray) -> None:
    network, handling, target = tiny.nearest(2), replace(QUIET, recursive=True), photos.with_name("out")
    outcomes = upscale_files(network, [photos], target, handling)
    next(outcomes)
    outcomes.close()
    assert list(files(target)) == ["a.png"]
    with heard() as notes:
        found = {outcome.source.name: outcome.status for outcome in upscale_files(network, [photos], target, handling)}
    assert found == {"a.png": "skipped", "a.jpg": "written", "d.webp": "written"}
    assert "1 of 3 images are skipped, as they are done: --overwrite makes them anew" in notes
    (target / "a.png").write_bytes(b"half")  # as other programs may leave it
    write_image(target / "b/a.jpg", ImageData(street[:9, :9]))
    os.utime(target / "b/c/d.webp", (0, 0))
    assert [outcome.status for outcome in upscale_files(network, [photos], target, handling)] == ["written"] * 3
    assert rgb(target / "b/a.jpg").shape == (48, 40, 3)
    again = list(upscale_files(network, [photos], target, replace(handling, overwrite=True)))
    assert [outcome.status for outcome in again] == ["written"] * 3


def test_another_network_makes_a_folder_anew(photos: Path, tmp_path: Path) -> None:
    network, other = tiny.nearest(2), tmp_path / "other.safetensors"
    upscale_file(network, photos, handling=QUIET)
    save(tiny.nearest(2), other)
    os.utime(other, (2e9, 2e9))
    (outcome,) = upscale_files(network, [photos], photos.with_name("photos_x2"), replace(QUIET, network_file=other))
    assert outcome.status == "written"
    # Where no folder was named, nothing that may be the user's is replaced.
    with pytest.raises(HkdsrError, match=r"photos_x2/a\.png exists: move it away, name a target with --output, or add"):
        upscale_file(network, photos, handling=replace(QUIET, network_file=other))


def test_what_became_png_is_skipped_too(tmp_path: Path, street: np.ndarray) -> None:
    write_image(tmp_path / "in" / "a.png", ImageData(street, alpha=street[..., 0]))
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "a.jpg")
    statuses = [next(upscale_files(tiny.nearest(2), [tmp_path / "in"], None, QUIET)).status for _ in range(2)]
    assert statuses == ["written", "skipped"]
    # But not for another image's result.
    write_image(tmp_path / "in" / "a.jpg", ImageData(street))
    write_image(tmp_path / "in" / "a.jpg.png", ImageData(street))
    found = list(upscale_files(tiny.nearest(2), [tmp_path / "in"], tmp_path / "in_x2", QUIET))
    assert [outcome.target.name for outcome in found] == ["a.jpg", "a.jpg.png"]


def test_the_report_tells_of_every_image(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, report = photos.with_name("network.safetensors"), photos.with_name("report.json")
    save(tiny.nearest(2), network)
    upscale_file(tiny.nearest(2), photos, handling=QUIET)
    (photos / "b" / "a.jpg").write_bytes(b"damaged")
    arguments = ("upscale", photos, "-r", "-m", network, "--report", report, "--quiet")
    monkeypatch.setattr(sys, "argv", ["hkdsr", *map(str, arguments)])
    with pytest.raises(SystemExit):
        main()
    assert "hkdsr upscale: 1 of 3 images are missing from " in capsys.readouterr().err
    told = json.loads(report.read_text())
    assert (told["network"], told["runtime"]) == (str(network), "PyTorch")
    one, two, three = told["images"]
    assert [image["status"] for image in told["images"]] == ["skipped", "failed", "written"]
    assert (one["input_size"], one["output_size"]) == ([20, 24], [40, 48])
    assert two["reason"].startswith(str(photos / "b" / "a.jpg"))
    assert two["output"] is None
    assert three["output"] == str(photos.with_name("photos_x2") / "b/c/d.webp")
    assert three["seconds"] > 0
