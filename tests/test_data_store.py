from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from hkdsr.data import flat, imresize, rgb, store
from hkdsr.data.derived import DerivedStore
from hkdsr.data.sources import Pair, find_pairs
from hkdsr.data.store import ImageStore, build_store
from hkdsr.errors import HkdsrError

SET5 = ("baby", "bird", "butterfly", "head", "woman")


@pytest.fixture
def set5(shared: Path, tmp_path: Path) -> Path:
    """Set5's HR images in a folder of their own."""
    folder = tmp_path / "set5"
    shutil.copytree(shared / "benchmarks" / "Set5" / "HR", folder)
    return folder


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_store_holds_the_images_and_their_matlab_reductions(scale: int, set5: Path, tmp_path: Path) -> None:
    built = build_store(find_pairs(set5, scale), scale, tmp_path / "cache", workers=2)
    assert built.names == [f"{name}.png" for name in SET5]
    for index, name in enumerate(SET5):
        image = rgb(set5 / f"{name}.png")
        height, width = (side // scale * scale for side in image.shape[:2])
        assert built.sizes[index] == (height, width)
        np.testing.assert_array_equal(built.hr(index), image[:height, :width])
        np.testing.assert_array_equal(built.lr(index), imresize(image[:height, :width], 1 / scale))
        assert not built.hr(index).flags.owndata
        assert not built.lr(index).flags.writeable


def test_lr_files_are_taken_as_they_are(tmp_path: Path) -> None:
    hr, lr = noise(9, 13), noise(4, 6, seed=1)
    pair = Pair("a", save(tmp_path / "a.png", hr), save(tmp_path / "ax2.png", lr))
    built = build_store([pair], 2, tmp_path / "cache")
    np.testing.assert_array_equal(built.hr(0), hr[:8, :12])
    np.testing.assert_array_equal(built.lr(0), lr)


def test_lr_of_another_size_names_both_files_and_leaves_nothing(tmp_path: Path) -> None:
    pair = Pair("a", save(tmp_path / "a.png", noise(8, 8)), save(tmp_path / "ax2.png", noise(4, 5)))
    with pytest.raises(HkdsrError, match=r"ax2\.png has 5x4 pixels and .*a\.png 8x8, which at scale 2 needs LR of 4x4"):
        build_store([pair], 2, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_unusable_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"thin\.png is smaller than the scale 4"):
        build_store([Pair("thin", save(tmp_path / "thin.png", noise(3, 40)))], 4, tmp_path / "cache")
    broken = tmp_path / "broken.png"
    broken.write_bytes(save(tmp_path / "whole.png", noise(64, 64)).read_bytes()[:2000])
    with pytest.raises(HkdsrError, match=r"broken\.png"):
        build_store([Pair("broken", broken)], 2, tmp_path / "cache")
    with pytest.raises(HkdsrError, match=r"cannot read .*absent\.png"):
        build_store([Pair("absent", tmp_path / "absent.png")], 2, tmp_path / "cache")


def test_second_build_decodes_nothing_and_a_changed_image_makes_a_new_store(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> np.ndarray:
        decoded.append(path)
        return rgb(path)

    monkeypatch.setattr(store, "rgb", counting)
    first = build_store(find_pairs(set5, 4), 4, tmp_path / "cache")
    assert len(decoded) == 5
    assert build_store(find_pairs(set5, 4), 4, tmp_path / "cache").key == first.key
    assert len(decoded) == 5
    Image.fromarray(255 - first.hr(1)).save(set5 / "bird.png")
    changed = build_store(find_pairs(set5, 4), 4, tmp_path / "cache")
    assert changed.key != first.key
    np.testing.assert_array_equal(changed.hr(1), 255 - first.hr(1))


def test_a_truncated_store_is_refused(tmp_path: Path) -> None:
    built = build_store([Pair("a", save(tmp_path / "a.png", noise(8, 8)))], 2, tmp_path / "cache")
    (built.folder / "lr.u8").write_bytes(b"short")
    with pytest.raises(HkdsrError, match="no complete image store \\(damaged\\): delete it"):
        ImageStore(built.folder)


BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from hkdsr.data import store
from hkdsr.data.sources import find_pairs

decode = store.rgb
def slow(path):
    if path.name == "head.png":
        print("half-way", flush=True)
        time.sleep(60)
    return decode(path)
store.rgb = slow
store.build_store(find_pairs(Path(sys.argv[1]), 4), 4, Path(sys.argv[2]), workers=1)
"""


def test_killed_half_way_leaves_no_store_and_the_next_build_is_whole(set5: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_SLOWLY, set5, cache], stdout=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "half-way\n"
        builder.kill()
        assert builder.wait() == -signal.SIGKILL
    (left,) = cache.glob("images-*")
    assert left.name.endswith(".part")
    built = build_store(find_pairs(set5, 4), 4, cache)
    assert [path.name for path in cache.glob("images-*")] == [built.folder.name]
    np.testing.assert_array_equal(built.hr(3), rgb(set5 / "head.png"))


def test_leftovers_of_other_data_sets_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "cache" / "images-dead.part").mkdir(parents=True)
    (tmp_path / "cache" / "images-dead.part" / "hr.u8").write_bytes(b"half")
    built = build_store([Pair("a", save(tmp_path / "a.png", noise(8, 8)))], 2, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("images-*")) == [built.folder]


def test_builders_at_the_same_time_decode_once(set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    monkeypatch.setattr(store, "rgb", lambda path: (decoded.append(path), rgb(path))[1])
    pairs = find_pairs(set5, 4)
    stores: list[ImageStore] = []
    builders = [Thread(target=lambda: stores.append(build_store(pairs, 4, tmp_path / "cache"))) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(decoded) == 5
    assert [len(one) for one in stores] == [5, 5, 5]


# Disks


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_that_fills_while_building_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair("a", save(tmp_path / "a.png", noise(8, 8)))
    monkeypatch.setattr(flat, "write", full_disk)
    with pytest.raises(HkdsrError, match=r"is full: free some space on it, or set data\.cache"):
        build_store([pair], 2, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("images-*"))
    monkeypatch.undo()
    assert len(build_store([pair], 2, tmp_path / "cache")) == 1


def test_too_small_a_disk_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair("a", save(tmp_path / "a.png", noise(8, 8)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 800, 8 * 8 * 3 + 4 * 4 * 3 - 1))
    monkeypatch.setattr(store, "rgb", lambda _: pytest.fail("decoded"))
    with pytest.raises(HkdsrError, match="0 MB free and the images need 0 MB: free some space"):
        build_store([pair], 2, tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    pair = Pair("a", save(tmp_path / "a.png", noise(8, 8)))
    (tmp_path / "file").touch()
    with pytest.raises(HkdsrError, match=r"cannot write to .*file.cache .*set data\.cache"):
        build_store([pair], 2, tmp_path / "file" / "cache")


def test_default_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "elsewhere"))
    built = build_store([Pair("a", save(tmp_path / "a.png", noise(8, 8)))], 2)
    assert built.folder.parent == tmp_path / "elsewhere"


# Derived images


@pytest.fixture
def small(tmp_path: Path) -> ImageStore:
    pairs = [Pair(f"{i}", save(tmp_path / f"{i}.png", noise(8 + 4 * i, 12, seed=i))) for i in range(13)]
    return build_store(pairs, 2, tmp_path / "cache", workers=1)


def exits(like: ImageStore, index: int) -> list[np.ndarray]:
    return [noise(*like.sizes[index], seed=100 * index + plane) for plane in range(3)]


def test_derived_images_come_back_and_outlast_the_process(small: ImageStore, tmp_path: Path) -> None:
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    for index in (12, 0, 5):
        derived.put(index, exits(small, index))
    again = DerivedStore(tmp_path, small, "teacher", planes=3)
    assert again.missing == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert again.missing
    for index in again.missing:
        again.put(index, exits(small, index))
    assert not again.missing
    for index in range(len(small)):
        for plane, image in enumerate(exits(small, index)):
            np.testing.assert_array_equal(again.get(plane, index), image)
            np.testing.assert_array_equal(derived._images, again._images)


def test_derived_images_of_another_teacher_are_others(small: ImageStore, tmp_path: Path) -> None:
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    derived.put(0, exits(small, 0))
    assert 0 in DerivedStore(tmp_path, small, "another", planes=3).missing
    assert 0 in DerivedStore(tmp_path, small, "teacher", planes=2).missing
    with pytest.raises(KeyError):
        derived.get(0, 1)
    with pytest.raises(ValueError, match="image 1 takes 3 uint8 arrays"):
        derived.put(1, exits(small, 0))


@pytest.mark.parametrize("cut", ["\n1", "\n12", "\n"])
def test_an_entry_cut_short_does_not_count(cut: str, small: ImageStore, tmp_path: Path) -> None:
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    derived.put(0, exits(small, 0))
    with (derived.folder / "finished.log").open("a") as log:
        log.write(cut)
    again = DerivedStore(tmp_path, small, "teacher", planes=3)
    assert again.missing == list(range(1, 13))
    again.put(2, exits(small, 2))
    assert DerivedStore(tmp_path, small, "teacher", planes=3).missing == [1, *range(3, 13)]


FILL_SLOWLY = """
import sys, time
from pathlib import Path
import numpy as np
from hkdsr.data import flat
from hkdsr.data.derived import DerivedStore
from hkdsr.data.store import ImageStore

like = ImageStore(Path(sys.argv[1]))
derived = DerivedStore(Path(sys.argv[2]), like, "teacher", planes=3)
write, written = flat.write, []
def slow(file, image):
    written.append(1)
    if len(written) == 3 * 4 + 2:
        print("half-way", flush=True)
        time.sleep(60)
    write(file, image)
flat.write = slow
for index in derived.missing:
    derived.put(index, [like.hr(index)] * 3)
"""


def test_derived_store_goes_on_after_a_kill(small: ImageStore, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FILL_SLOWLY, small.folder, tmp_path], stdout=subprocess.PIPE, text=True
    ) as filler:
        assert filler.stdout is not None
        assert filler.stdout.readline() == "half-way\n"
        filler.kill()
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    assert derived.missing == list(range(4, 13))
    for index in range(4):
        for plane in range(3):
            np.testing.assert_array_equal(derived.get(plane, index), small.hr(index))


def test_disk_that_fills_while_deriving_keeps_what_is_finished(
    small: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    derived.put(0, exits(small, 0))
    monkeypatch.setattr(flat, "write", full_disk)
    with pytest.raises(HkdsrError, match="is full"):
        derived.put(1, exits(small, 1))
    monkeypatch.undo()
    assert DerivedStore(tmp_path, small, "teacher", planes=3).missing == list(range(1, 13))
