"""One window of each training image: where it lies, and that HR, LR and the teacher's images belong together."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.data.store import ImageStore
from hkdsr.data.windows import WindowStore
from hkdsr.errors import HkdsrError
from hkdsr.settings.recipe import Data


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, ImageStore]:
    """Stores by scale, of LR images of 20x31 pixels."""
    folder = tmp_path_factory.mktemp("images")
    return {scale: tiny.store(folder / str(scale), scale, height=20 * scale, width=31 * scale) for scale in (2, 3, 4)}


@given(side=st.integers(1, 40), scale=st.sampled_from([2, 3, 4]))
def test_a_window_is_cut_from_hr_and_lr_at_the_same_place(side: int, scale: int, bases: dict[int, ImageStore]) -> None:
    base = bases[scale]
    found = WindowStore(base, side)
    height, width = min(side, 20), min(side, 31)
    assert len(found) == len(base)
    assert found.sizes == [(scale * height, scale * width)] * len(base)
    assert found.offsets[-1] == 3 * scale**2 * height * width * len(base)
    for index in range(len(base)):
        places = [
            (top, left)
            for top in range(20 - height + 1)
            for left in range(31 - width + 1)
            if np.array_equal(base.lr(index)[top : top + height, left : left + width], found.lr(index))
        ]
        hr = base.hr(index)
        windows = [
            hr[scale * top : scale * (top + height), scale * left : scale * (left + width)] for top, left in places
        ]
        assert any(np.array_equal(window, found.hr(index)) for window in windows)


def test_places_differ_between_images_and_not_between_runs(bases: dict[int, ImageStore]) -> None:
    base = bases[2]
    one, other = WindowStore(base, 8), WindowStore(base, 8)
    assert all(np.array_equal(one.lr(index), other.lr(index)) for index in range(len(base)))
    assert len({tuple(place) for place in one._places}) == len(base)
    assert len({one.key, WindowStore(base, 9).key, base.key}) == 3


def test_a_window_that_is_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(HkdsrError, match=r"^data\.window is 24: set it to 32 or more"):
        Data(patch=32, window=24)
