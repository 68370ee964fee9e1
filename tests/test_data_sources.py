from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.data.sources import Pair, find_pairs, spread
from hkdsr.errors import HkdsrError


def save(path: Path) -> None:
    """A file with an image's name: finding images opens none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_plain_folder_and_folder_of_folders(tmp_path: Path) -> None:
    for name in ("a.png", "deep/er/b.png", "other/a.png", ".hidden/c.png", "other/.d.png"):
        save(tmp_path / name)
    (tmp_path / "other" / "notes.txt").write_text("not an image")
    assert [pair.name for pair in find_pairs(tmp_path, 2)] == ["a.png", "deep/er/b.png", "other/a.png"]
    assert all(pair.lr is None for pair in find_pairs(tmp_path, 2))


def test_equal_names_in_two_folders_stay_apart_and_a_folder_given_twice_counts_once(tmp_path: Path) -> None:
    for name in ("one/images/0001.png", "two/images/0001.png", "two/images/0001.bmp"):
        save(tmp_path / name)
    folders = [tmp_path / "two" / "images", tmp_path / "one" / "images", tmp_path / "one"]
    names = [pair.name for pair in find_pairs(folders, 2)]
    assert names == ["two/images/0001.bmp", "two/images/0001.png", "one/images/0001.png"]


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X2/0001x2.png"),
        ("DIV2K_train_HR_sub/0001_s001.png", "DIV2K_train_LR_bicubic/X2_sub/0001_s001.png"),
        ("GTmod12/baby.png", "LRbicx2/baby.png"),
        ("HR/babyx2.png", "LR_bicubic/X2/babyx2.png"),
    ],
)
def test_lr_folders_are_paired_not_taken_for_hr(hr: str, lr: str, tmp_path: Path) -> None:
    save(tmp_path / hr)
    save(tmp_path / lr)
    save(tmp_path / lr.replace("X2", "X4").replace("x2", "x4"))
    whole = [(pair.hr, pair.lr) for pair in find_pairs(tmp_path, 2)]
    assert whole == [(tmp_path / hr, tmp_path / lr)]
    assert [(pair.hr, pair.lr) for pair in find_pairs((tmp_path / hr).parent, 2)] == whole
    assert [pair.lr for pair in find_pairs(tmp_path, 3)] == [None]


def test_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"there is no folder .*absent"):
        find_pairs(tmp_path / "absent", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HkdsrError, match="empty has no images"):
        find_pairs(tmp_path / "empty", 2)
    with pytest.raises(HkdsrError, match=r"set data\.train"):
        find_pairs([], 2)
    save(tmp_path / "HR" / "0001.png")
    save(tmp_path / "LR_bicubic" / "X2" / "0002x2.png")
    with pytest.raises(HkdsrError, match=r"X2 has no LR file for .*0001\.png"):
        find_pairs(tmp_path, 2)


@given(st.integers(1, 300), st.floats(0.01, 1))
def test_a_share_is_spread_evenly(count: int, share: float) -> None:
    pairs = [Pair(f"{index:03}", Path(f"{index:03}.png")) for index in range(count)]
    wanted = floor(count * Fraction(str(share)))
    if wanted == 0:
        with pytest.raises(HkdsrError, match=rf"data\.share is {share}, which leaves none of {count} images"):
            spread(pairs, share)
        return
    kept = [pairs.index(pair) for pair in spread(pairs, share)]
    assert len(kept) == wanted
    gaps = [after - before for before, after in pairwise(kept)]
    assert all(abs(gap - 1 / share) < 1 for gap in gaps)


PAIRS = [Pair(f"{index:03}", Path(f"{index:03}.png")) for index in range(800)]


@given(st.integers(1, 50), st.data())
def test_a_share_is_part_of_its_multiples(percent: int, data: st.DataObject) -> None:
    multiple = percent * data.draw(st.integers(2, 100 // percent))
    part, whole = spread(PAIRS, percent / 100), spread(PAIRS, multiple / 100)
    assert set(part) < set(whole)
    assert (len(part), len(whole)) == (8 * percent, 8 * multiple)


def test_all_is_all() -> None:
    assert spread(PAIRS, 1.0) == PAIRS
