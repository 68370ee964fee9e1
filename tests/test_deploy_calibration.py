"""The crops on which the ranges of 8-bit numbers are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from hkdsr.deploy.calibration import CROPS, SIDE, calibration_crops
from hkdsr.errors import HkdsrError


def test_crops_of_images_in_folders_are_the_same_every_time(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "images" / "below", count=3, height=140, width=150)
    first, again = (calibration_crops(2, [tmp_path / "images"]) for _ in range(2))
    assert len(first) == CROPS
    assert all(crop.shape == (SIDE, SIDE, 3) for crop in first)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_what_has_no_images_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(HkdsrError, match=r"empty has no images: name HR images or folders of them for --calibration"):
        calibration_crops(2, [tmp_path / "empty"])
    with pytest.raises(HkdsrError, match=r"absent\.png"):
        calibration_crops(2, [tmp_path / "absent.png"])
