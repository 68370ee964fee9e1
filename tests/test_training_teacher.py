"""The teacher's outputs: cached ones are those of whole images, crops of them match, and their key has the weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from hkdsr.data.crops import Batch, CropSampler
from hkdsr.data.derived import JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.nets.exits import Exits, NetworkWithExits, Outputs
from hkdsr.nets.files.load import build
from hkdsr.training.process_group import ALONE
from hkdsr.training.teacher import prepared

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    # Odd LR sizes, 27 x 35.
    return tiny.store(tmp_path_factory.mktemp("data"), height=54, width=70)


@pytest.fixture
def teacher() -> NetworkWithExits:
    network = build("compact:features=6,convs=4", 2)
    return NetworkWithExits(network, Exits(network, (0.3, 0.7), start="plain")).eval().requires_grad_(False)


def filled(teacher: NetworkWithExits, store: ImageStore, cache: Path) -> JoinedStores:
    stored = prepared(teacher, (), store, cache, "cached", CPU, ALONE).stored
    assert stored is not None
    return stored


def as_batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


def stores(cache: Path) -> list[Path]:
    return sorted(cache.glob("derived-*"))


def test_cached_images_are_those_of_whole_images(teacher: NetworkWithExits, store: ImageStore, tmp_path: Path) -> None:
    derived = filled(teacher, store, tmp_path)
    assert not derived.missing
    assert derived.planes == 3
    for index in range(len(store)):
        images = teacher(as_batch(store.lr(index)))
        for plane, image in enumerate((*images.exits, images.final)):
            error = (as_batch(derived.get(plane, index)) - image.clamp(0, 1)).abs().max()
            assert error <= 0.5 / 255 + 1e-6


def test_filling_the_store_is_reported_once(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE)
    (sentence,) = caplog.messages
    assert f"{len(store)} training images" in sentence


def test_a_batch_takes_exits_first_and_the_final_image_last(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path
) -> None:
    found = prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE)
    batch = CropSampler(store, 12, 4, 0, found.stored).batch(0)
    images = found.outputs(batch)
    assert len(images.exits) == 2
    assert all(torch.equal(a, b) for a, b in zip((*images.exits, images.final), batch.teacher, strict=True))


def test_methods_with_features_have_the_same_images_as_others(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path
) -> None:
    found = prepared(teacher, (0.5, 1.0), store, tmp_path, "cached", CPU, ALONE)
    batch = CropSampler(store, 12, 4, 0, found.stored).batch(0)
    outputs = found.outputs(batch)
    assert all(torch.equal(a, b) for a, b in zip((*outputs.exits, outputs.final), batch.teacher, strict=True))
    blocks = [teacher.network.tap_index(depth) for depth in (0.5, 1.0)]
    for feature, expected in zip(outputs.features, teacher.network.trace(batch.lr, blocks).taps, strict=True):
        torch.testing.assert_close(feature, expected)
        assert not feature.requires_grad


def test_images_made_in_bf16_are_near_the_others_and_kept_apart_from_them(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path
) -> None:
    full = filled(teacher, store, tmp_path)
    coarse = prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE, precision="bf16").stored
    assert coarse is not None
    for index in range(len(store)):
        for plane in range(full.planes):
            error = full.get(plane, index).astype(float) - coarse.get(plane, index)
            assert 0 < (error**2).mean() < 1
    again = prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE).stored
    assert again is not None
    assert (again.get(0, 0) == full.get(0, 0)).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_of_cached_images_lie_where_the_others_do(scale: int, tmp_path: Path) -> None:
    """A teacher that repeats every LR pixel: its crop must be the repeated LR crop, whatever the turn."""
    store = tiny.store(tmp_path, scale, height=27 * scale, width=35 * scale)
    teacher = NetworkWithExits(tiny.nearest(scale), Exits(tiny.nearest(scale), ()))
    found = prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE)
    sampler = CropSampler(store, 11, 6, seed=1, derived=found.stored)
    for step in range(6):
        batch = sampler.batch(step)
        images = found.outputs(batch)
        repeated = batch.lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(images.final, repeated)


def test_live_and_cached_differ_only_at_borders(teacher: NetworkWithExits, store: ImageStore, tmp_path: Path) -> None:
    """The cached crop has seen what lies around it; further inside than the network sees, both are alike."""
    derived = filled(teacher, store, tmp_path)
    found = prepared(teacher, (), store, tmp_path, "live", CPU, ALONE)
    assert found.stored is None
    top, left, side = 4, 9, 20
    inside = 2 * 6  # HR pixels: either way, 6 convolutions of 3x3 LR pixels
    lr = as_batch(store.lr(1)[top : top + side, left : left + side])
    hr = as_batch(store.hr(1)[2 * top : 2 * (top + side), 2 * left : 2 * (left + side)])
    live = found.outputs(Batch(lr, hr, []))
    for plane, image in enumerate((*live.exits, live.final)):
        cut = derived.get(plane, 1)[2 * top : 2 * (top + side), 2 * left : 2 * (left + side)]
        error = (as_batch(cut) - image).abs().amax(1)[0]
        assert error[inside:-inside, inside:-inside].max() <= 0.5 / 255 + 1e-6
        assert error.max() > 1 / 255


def test_live_images_are_clamped_and_without_gradient(store: ImageStore) -> None:
    network = tiny.nearest(2)
    last = network.body[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.bias.data.fill_(0.5)
    with_exits = NetworkWithExits(network, Exits(network, (0.5,)))
    found = prepared(with_exits, (), store, Path(), "live", CPU, ALONE)
    batch = CropSampler(store, 12, 4, 0).batch(0)
    images = found.outputs(batch)
    assert (batch.lr > 0.6).any()
    repeated = batch.lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(images.final, (repeated + 0.5).clamp(0, 1))
    assert 0 <= images.exits[0].min() <= images.exits[0].max() <= 1
    assert not any(image.requires_grad for image in (images.final, *images.exits))


def runs_of(teacher: NetworkWithExits, killed_at: int | None = None) -> list[int]:
    """Grows with every run of the teacher; that of the number ``killed_at`` ends the process."""
    runs: list[int] = []

    def before(*_: object) -> None:
        runs.append(len(runs))
        if len(runs) - 1 == killed_at:
            raise tiny.Killed

    teacher.register_forward_pre_hook(before)
    return runs


def test_filling_continues_after_a_kill_and_a_full_store_is_found(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path
) -> None:
    whole = filled(teacher, store, tmp_path / "whole")
    runs = runs_of(teacher, killed_at=1)
    with pytest.raises(tiny.Killed):
        filled(teacher, store, tmp_path / "cut")
    filled(teacher, store, tmp_path / "cut")
    assert len(runs) == 1 + len(store)
    found = filled(teacher, store, tmp_path / "cut")
    assert len(runs) == 1 + len(store)
    for index in range(len(store)):
        assert all(np.array_equal(found.get(plane, index), whole.get(plane, index)) for plane in range(3))


def test_other_weights_or_taps_have_another_store(teacher: NetworkWithExits, store: ImageStore, tmp_path: Path) -> None:
    filled(teacher, store, tmp_path)
    filled(teacher, store, tmp_path)
    assert len(stores(tmp_path)) == 2  # one for the exits, one for the final images
    moved = NetworkWithExits(teacher.network, Exits(teacher.network, (0.5, 0.7)))
    moved.exits.heads = teacher.exits.heads
    filled(moved, store, tmp_path)
    assert len(stores(tmp_path)) == 3
    next(teacher.exits.parameters()).data[0, 0, 0, 0] += 1e-6
    filled(teacher, store, tmp_path)
    assert len(stores(tmp_path)) == 4
    next(teacher.network.parameters()).data[0, 0, 0, 0] += 1e-6
    filled(teacher, store, tmp_path)
    assert len(stores(tmp_path)) == 6


def test_final_images_are_made_once_for_all_methods(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path
) -> None:
    """A method without exits finds the final images of a method with exits, and needs no pass of the teacher."""
    with_exits = filled(teacher, store, tmp_path)
    runs = runs_of(teacher)
    alone = filled(NetworkWithExits(teacher.network, Exits(teacher.network, ())), store, tmp_path)
    assert alone.planes == 1
    assert not runs
    for index in range(len(store)):
        assert np.array_equal(alone.get(0, index), with_exits.get(2, index))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Say how many bytes the disk has free."""

    def set_to(size: float) -> None:
        usage = shutil.disk_usage("/")._replace(free=int(size))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    return set_to


def test_auto_caches_only_with_space_to_spare(
    teacher: NetworkWithExits,
    store: ImageStore,
    tmp_path: Path,
    free: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    size = 3 * store.offsets[-1]
    for have in (0, 0.9 * size, 1.4 * size):
        free(have)
        found = prepared(teacher, (), store, tmp_path / "new", "auto", CPU, ALONE)
        assert found.stored is None
        assert "has no room for the teacher's images" in caplog.messages[-1]
        images = found.outputs(CropSampler(store, 12, 2, 0).batch(0))
        assert isinstance(images, Outputs)
    free(1.6 * size)
    derived = prepared(teacher, (), store, tmp_path / "new", "auto", CPU, ALONE).stored
    assert derived is not None
    assert not derived.missing


def test_auto_keeps_to_what_is_cached_when_the_disk_has_filled_up(
    teacher: NetworkWithExits,
    store: ImageStore,
    tmp_path: Path,
    free: Callable[[float], None],
) -> None:
    filled(teacher, store, tmp_path)
    free(0)
    runs = runs_of(teacher)
    derived = prepared(teacher, (), store, tmp_path, "auto", CPU, ALONE).stored
    assert derived is not None
    assert not derived.missing
    assert not runs


def test_cached_on_a_small_disk_is_refused(
    teacher: NetworkWithExits, store: ImageStore, tmp_path: Path, free: Callable[[float], None]
) -> None:
    free(1000)
    with pytest.raises(HkdsrError, match=r"the disk of .* has 0 MB free and the images need"):
        prepared(teacher, (), store, tmp_path, "cached", CPU, ALONE)
