"""Stores in several files: the same images, what is lost is made again alone, and memory does not grow with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from limited import status

from hkdsr.data import shards, store
from hkdsr.data.crops import CropSampler
from hkdsr.data.derived import DerivedStore
from hkdsr.data.shards import Shards, path_of, written
from hkdsr.data.sources import Pair, find_pairs
from hkdsr.data.store import ImageStore, build_store

SMALL = 25_000  # bytes: two HR images of 56 x 66, or nine LR images


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LIMIT", SMALL)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return find_pairs(tiny.photographs(tmp_path / "images", count=7), 2)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded."""
    names: list[str] = []
    real = store._decode

    def noted(pair: Pair, scale: int) -> tuple[np.ndarray | None, np.ndarray]:
        names.append(pair.name)
        return real(pair, scale)

    monkeypatch.setattr(store, "_decode", noted)
    return names


def assert_same(one: ImageStore, other: ImageStore) -> None:
    assert one.sizes == other.sizes
    for index in range(len(one)):
        np.testing.assert_array_equal(one.hr(index), other.hr(index))
        np.testing.assert_array_equal(one.lr(index), other.lr(index))


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_images_come_back_from_files_of_limited_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("files")
    images = [np.full((*size, 3), index, np.uint8) for index, size in enumerate(sizes)]
    with written(folder, "a", limit or 10**6) as writer:
        for image in images:
            writer.add(image)
    counts = [image.size for image in images]
    for path in folder.iterdir():
        assert path.stat().st_size <= (limit or 10**6) or path.stat().st_size in counts
    assert sum(path.stat().st_size for path in folder.iterdir()) == sum(counts)
    found = Shards(folder, "a", counts, limit)
    found.open()
    for index, image in enumerate(images):
        np.testing.assert_array_equal(found.image(index, sizes[index]), image)
    found.write(len(images) - 1, [images[-1] + 7])
    np.testing.assert_array_equal(found.image(len(images) - 1, sizes[-1]), images[-1] + 7)
    shutil.rmtree(folder)


def test_small_files_hold_what_one_file_holds(pairs: list[Pair], tmp_path: Path) -> None:
    one = build_store(pairs, 2, tmp_path / "one")
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(shards, "LIMIT", SMALL)
        many = build_store(pairs, 2, tmp_path / "many")
    # Found again with another limit: each store notes its own.
    assert build_store(pairs, 2, tmp_path / "many").folder == many.folder
    assert one.key == many.key
    assert [path.name for path in sorted(one.folder.glob("*.u8"))] == ["hr.u8", "lr.u8"]
    files = ["hr-1.u8", "hr-2.u8", "hr-3.u8", "hr.u8", "lr.u8"]
    assert [path.name for path in sorted(many.folder.glob("*.u8"))] == files
    assert_same(one, many)
    for step in range(3):
        ours, theirs = (CropSampler(found, 10, 8, seed=1).batch(step) for found in (one, many))
        assert (ours.lr == theirs.lr).all()
        assert (ours.hr == theirs.hr).all()


@pytest.mark.parametrize("name", ["hr.u8", "hr-3.u8", "lr.u8"])
@pytest.mark.parametrize("damage", ["lost", "torn"])
@pytest.mark.usefixtures("small_files")
def test_a_lost_file_is_decoded_alone(
    name: str, damage: str, pairs: list[Pair], decoded: list[str], tmp_path: Path
) -> None:
    whole = build_store(pairs, 2, tmp_path / "whole")
    built = build_store(pairs, 2, tmp_path / "cache")
    others = {path: path.stat().st_mtime_ns for path in built.folder.glob("*.u8") if path.name != name}
    assert len(others) == 4
    path = built.folder / name
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:5000])
    decoded.clear()
    again = build_store(pairs, 2, tmp_path / "cache")
    expected = {"hr.u8": [0, 1], "hr-3.u8": [6], "lr.u8": range(0 if damage == "lost" else 1, 7)}[name]
    assert sorted(decoded) == [f"{index:02}.png" for index in expected]
    assert_same(again, whole)
    assert not again.damaged()
    changed = {path.name for path, time in others.items() if path.stat().st_mtime_ns != time}
    assert name == "lr.u8" or changed == {"lr.u8"}  # LR is written with HR


@pytest.mark.usefixtures("small_files")
def test_an_index_with_other_sizes_is_built_again(pairs: list[Pair], tmp_path: Path) -> None:
    whole = build_store(pairs, 2, tmp_path / "whole")
    built = build_store(pairs, 2, tmp_path / "cache")
    index = json.loads((built.folder / "index.json").read_text())
    index["sizes"][6][0] -= 2
    (built.folder / "index.json").write_text(json.dumps(index))
    assert_same(build_store(pairs, 2, tmp_path / "cache"), whole)


def test_a_store_of_an_older_version_is_found(pairs: list[Pair], decoded: list[str], tmp_path: Path) -> None:
    built = build_store(pairs, 2, tmp_path / "cache")
    index = json.loads((built.folder / "index.json").read_text())
    del index["file_limit"]
    (built.folder / "index.json").write_text(json.dumps(index))
    derived = DerivedStore(tmp_path / "cache", built, "teacher", 2)
    for number in range(7):
        derived.put(number, [built.hr(number), 255 - built.hr(number)])
    decoded.clear()
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(shards, "LIMIT", SMALL)
        again = build_store(pairs, 2, tmp_path / "cache")
        assert not decoded
        assert_same(again, built)
        images = DerivedStore(tmp_path / "cache", again, "teacher", 2)
    assert not images.missing
    assert len(list(images.folder.glob("*.u8"))) == 1
    np.testing.assert_array_equal(images.get(1, 6), 255 - built.hr(6))


@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_lost_file_of_the_teachers_images_is_made_alone(
    damage: str, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = build_store(pairs, 2, tmp_path / "cache")
    monkeypatch.setattr(shards, "LIMIT", SMALL)
    derived = DerivedStore(tmp_path, like, "teacher", 2)
    for index in range(7):
        derived.put(index, [like.hr(index), 255 - like.hr(index)])
    derived.tidy()
    content = {path.name: path.read_bytes() for path in derived.folder.iterdir()}
    assert len(content) == 8  # an image and its planes each, and the log
    path = path_of(derived.folder, "images", 4)
    path.unlink() if damage == "lost" else path.write_bytes(path.read_bytes()[:-1])
    again = DerivedStore(tmp_path, like, "teacher", 2)
    assert again.missing == [4]
    again.put(4, [like.hr(4), 255 - like.hr(4)])
    again.tidy()
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == content


@pytest.mark.parametrize("handed_back", [True, False])
def test_memory_does_not_grow_with_the_images(
    handed_back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RESIDENT", (16 if handed_back else 1024) << 20)
    found = Shards(tmp_path, "zero", [3 << 20] * 80, 60 << 20)
    found.restore()
    found.open()
    assert len(list(tmp_path.iterdir())) == 4
    before = status("VmRSS")
    first = found.image(0, (1024, 1024))
    total = sum(int(found.image(index, (1024, 1024)).sum()) for index in range(80))
    assert (total, int(first.sum())) == (0, 0)
    assert (status("VmRSS") - before < 60) == handed_back  # MB, of 240
