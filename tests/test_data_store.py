from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import png
import pytest
from limited import files_up_to
from PIL import Image

from hkdsr.data import imresize, rgb
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


def written(store: ImageStore) -> tuple[int, int]:
    """What would be different if the store had been built again."""
    found = (store.folder / "hr.u8").stat()
    return found.st_ino, found.st_mtime_ns


def test_the_second_build_finds_the_first_and_a_changed_image_makes_a_new_store(set5: Path, tmp_path: Path) -> None:
    first = build_store(find_pairs(set5, 4), 4, tmp_path / "cache")
    before = written(first)
    again = build_store(find_pairs(set5, 4), 4, tmp_path / "cache")
    assert (again.key, written(again)) == (first.key, before)
    Image.fromarray(255 - first.hr(1)).save(set5 / "bird.png")
    changed = build_store(find_pairs(set5, 4), 4, tmp_path / "cache")
    assert changed.key != first.key
    np.testing.assert_array_equal(changed.hr(1), 255 - first.hr(1))


def test_a_truncated_store_is_refused(tmp_path: Path) -> None:
    built = build_store([Pair("a", save(tmp_path / "a.png", noise(8, 8)))], 2, tmp_path / "cache")
    (built.folder / "lr.u8").write_bytes(b"short")
    with pytest.raises(HkdsrError, match="no complete image store \\(damaged\\): delete it"):
        ImageStore(built.folder)


ENDED_AT = """
import resource, signal
def end_at(size):
    # The system ends this process in the middle of a write, where a file would grow past so many bytes.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""
BUILD = """
import sys
from pathlib import Path
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store

pairs, cache = find_pairs(Path(sys.argv[1]), 4), Path(sys.argv[2])
end_at(int(sys.argv[3]))
build_store(pairs, 4, cache, workers=1)
"""


def ended_by_the_system(code: str, *arguments: object) -> None:
    done = subprocess.run([sys.executable, "-c", ENDED_AT + code, *map(str, arguments)], capture_output=True)
    assert done.returncode == -signal.SIGXFSZ, done.stderr


def test_killed_half_way_leaves_no_store_and_the_next_build_is_whole(set5: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ended_by_the_system(BUILD, set5, cache, 700_000)  # the first image alone has 786 432 bytes
    (left,) = cache.glob("images-*")
    assert left.name.endswith(".part")
    assert (left / "hr.u8").stat().st_size == 700_000
    built = build_store(find_pairs(set5, 4), 4, cache)
    assert [path.name for path in cache.glob("images-*")] == [built.folder.name]
    np.testing.assert_array_equal(built.hr(3), rgb(set5 / "head.png"))


def test_leftovers_of_other_data_sets_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "cache" / "images-dead.part").mkdir(parents=True)
    (tmp_path / "cache" / "images-dead.part" / "hr.u8").write_bytes(b"half")
    built = build_store([Pair("a", save(tmp_path / "a.png", noise(8, 8)))], 2, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("images-*")) == [built.folder]


def test_builders_at_the_same_time_build_once(set5: Path, tmp_path: Path) -> None:
    pairs = find_pairs(set5, 4)
    stores: list[tuple[ImageStore, tuple[int, int]]] = []

    def build() -> None:
        found = build_store(pairs, 4, tmp_path / "cache")
        stores.append((found, written(found)))

    builders = [Thread(target=build) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    # The stores are still open, so another build would have another inode.
    assert len(stores) == 3
    assert len({file for _, file in stores}) == 1


# Disks


def test_a_write_that_fails_leaves_no_store(tmp_path: Path) -> None:
    pair = Pair("a", save(tmp_path / "a.png", noise(80, 80)))
    with (
        files_up_to(80 * 80),
        pytest.raises(HkdsrError, match=r"cannot write to \S*cache \(File too large\): set data"),
    ):
        build_store([pair], 2, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("images-*"))
    assert len(build_store([pair], 2, tmp_path / "cache")) == 1


def test_too_small_a_disk_is_refused_before_decoding(tmp_path: Path) -> None:
    """The header says 100 000 x 100 000 pixels; decoding would say that there are none."""
    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png.joined([(b"IHDR", size), (b"IDAT", b""), (b"IEND", b"")]))
    with pytest.raises(HkdsrError, match=r"MB free and the images need [3-9]\d,\d{3},\d{3} MB: free some space"):
        build_store([Pair("a", tmp_path / "a.png")] * 1000, 2, tmp_path / "cache")


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


FILL = """
import sys
from pathlib import Path
from hkdsr.data.derived import DerivedStore
from hkdsr.data.store import ImageStore

like = ImageStore(Path(sys.argv[1]))
derived = DerivedStore(Path(sys.argv[2]), like, "teacher", planes=3)
end_at(3 * like.offsets[4] + 100)
for index in derived.missing:
    derived.put(index, [like.hr(index)] * 3)
"""


def test_derived_store_goes_on_after_a_kill(small: ImageStore, tmp_path: Path) -> None:
    ended_by_the_system(FILL, small.folder, tmp_path)
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    assert derived.missing == list(range(4, 13))
    for index in range(4):
        for plane in range(3):
            np.testing.assert_array_equal(derived.get(plane, index), small.hr(index))


def test_disk_that_fills_while_deriving_keeps_what_is_finished(small: ImageStore, tmp_path: Path) -> None:
    derived = DerivedStore(tmp_path, small, "teacher", planes=3)
    derived.put(0, exits(small, 0))
    data = (derived.folder / "images.u8").rename(tmp_path / "images.u8")
    (derived.folder / "images.u8").symlink_to("/dev/full")
    with pytest.raises(HkdsrError, match=r"the disk of \S* is full: free some space on it, or set data\.cache"):
        derived.put(1, exits(small, 1))
    (derived.folder / "images.u8").unlink()
    data.rename(derived.folder / "images.u8")
    assert DerivedStore(tmp_path, small, "teacher", planes=3).missing == list(range(1, 13))
