from __future__ import annotations

from pathlib import Path
from threading import active_count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hkdsr.data import imresize
from hkdsr.data.crops import CropSampler, Prefetcher
from hkdsr.data.derived import DerivedStore
from hkdsr.data.sources import Pair, find_pairs
from hkdsr.data.store import ImageStore, build_store
from hkdsr.errors import HkdsrError


def coordinates(height: int, width: int, tag: int) -> np.ndarray:
    """An image that tells each pixel's row, column and image."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack((rows, columns, np.full_like(rows, tag)), axis=2).astype(np.uint8)


def coordinate_store(folder: Path, scale: int, lr_sizes: list[tuple[int, int]]) -> ImageStore:
    """LR images tell their own coordinates; HR images those of the LR pixel they lie on, so crops must agree."""
    folder.mkdir(exist_ok=True)
    pairs = []
    for tag, size in enumerate(lr_sizes):
        lr = coordinates(*size, tag)
        hr = lr.repeat(scale, axis=0).repeat(scale, axis=1)
        hr_path, lr_path = folder / f"{tag}.png", folder / f"{tag}x{scale}.png"
        Image.fromarray(hr).save(hr_path)
        Image.fromarray(lr).save(lr_path)
        pairs.append(Pair(f"{tag}", hr_path, lr_path))
    return build_store(pairs, scale, folder / "cache", workers=1)


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """[0, 1] back to 0..255, exactly."""
    scaled = tensor * 255
    assert torch.equal(scaled, scaled.round()), "values are not multiples of 1/255"
    return scaled.to(torch.uint8)


@settings(max_examples=30)
@given(
    scale=st.sampled_from([2, 3, 4]),
    sizes=st.lists(st.tuples(st.integers(4, 30), st.integers(4, 30)), min_size=1, max_size=3),
    patch=st.integers(1, 8),
    seed=st.integers(0, 2**63),
    step=st.integers(0, 2**31),
)
def test_lr_hr_and_teacher_crops_show_the_same_place(
    tmp_path_factory: pytest.TempPathFactory,
    scale: int,
    sizes: list[tuple[int, int]],
    patch: int,
    seed: int,
    step: int,
) -> None:
    folder = tmp_path_factory.mktemp("crops")
    store = coordinate_store(folder, scale, sizes)
    derived = DerivedStore(folder, store, "teacher", planes=2)
    for index in derived.missing:
        derived.put(index, [255 - store.hr(index), store.hr(index)])
    patch = min(patch, max(min(size) for size in sizes))
    batch = CropSampler(store, patch, batch=4, seed=seed, derived=derived).batch(step)
    assert batch.lr.shape == (4, 3, patch, patch)
    assert batch.hr.shape == (4, 3, scale * patch, scale * patch)
    assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in (batch.lr, batch.hr))
    lr, hr = as_bytes(batch.lr), as_bytes(batch.hr)
    assert torch.equal(lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3), hr)
    inverted, same = (as_bytes(exit_) for exit_ in batch.teacher)
    assert torch.equal(255 - inverted, hr)
    assert torch.equal(same, hr)
    # Within a crop, rows and columns go on by one pixel, whichever way it is turned.
    for crop in lr.int():
        rows, columns, tags = crop
        assert tags.unique().numel() == 1
        assert sorted((rows.max() - rows.min(), columns.max() - columns.min())) == [patch - 1, patch - 1]


def test_real_crops_are_the_matlab_reduction_of_their_neighbourhood(shared: Path, tmp_path: Path) -> None:
    store = build_store(find_pairs(shared / "benchmarks" / "Set5" / "HR", 2), 2, tmp_path)
    batch = CropSampler(store, 40, batch=8, seed=1).batch(0)
    for lr, hr in zip(as_bytes(batch.lr), as_bytes(batch.hr), strict=True):
        reduced = imresize(hr.permute(1, 2, 0).numpy(), 0.5)
        # Beyond 4 pixels from its edges the reduction sees nothing outside of the crop. One grey level apart, because
        # MATLAB rounds after each axis, and a transposed crop takes them in the other order.
        apart = np.abs(reduced.astype(int) - lr.permute(1, 2, 0).numpy())[4:-4, 4:-4]
        assert apart.max() <= 1
        assert (apart == 0).mean() > 0.7


def test_every_place_and_every_turn_is_reached(tmp_path: Path) -> None:
    store = coordinate_store(tmp_path, 2, [(7, 5)])
    sampler = CropSampler(store, 3, batch=64, seed=3)
    seen = {tuple(as_bytes(lr)[:2].flatten().tolist()) for step in range(40) for lr in sampler.batch(step).lr}
    window = coordinates(3, 3, 0)[..., :2]
    turned = [np.rot90(w, turn) for w in (window, window.swapaxes(0, 1)) for turn in range(4)]
    possible = {
        tuple(np.add(w, [top, left]).transpose(2, 0, 1).flatten().tolist())
        for w in turned
        for top in range(5)
        for left in range(3)
    }
    assert len(possible) == 8 * 5 * 3
    assert seen == possible


def test_images_are_drawn_by_area_and_small_ones_left_out(tmp_path: Path) -> None:
    store = coordinate_store(tmp_path, 2, [(10, 10), (4, 30), (20, 15)])
    sampler = CropSampler(store, 5, batch=100, seed=5)
    assert sampler.left_out == 1
    tags = torch.cat([as_bytes(sampler.batch(step).lr)[:, 2, 0, 0] for step in range(40)])
    counts = torch.bincount(tags.int(), minlength=3)
    assert counts[1] == 0
    # 4000 draws of probability 1/4: three standard deviations are 82.
    assert abs(int(counts[0]) - 1000) < 82


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    store = coordinate_store(tmp_path, 2, [(30, 40), (25, 25)])
    sampler = CropSampler(store, 6, batch=8, seed=7)
    forwards = [sampler.batch(step).lr for step in range(4)]
    fresh = CropSampler(store, 6, batch=8, seed=7)
    for step in (3, 1, 2, 0):
        assert torch.equal(fresh.batch(step).lr, forwards[step])
    assert not torch.equal(forwards[0], forwards[1])
    assert not torch.equal(CropSampler(store, 6, batch=8, seed=8).batch(0).lr, forwards[0])


def test_a_patch_larger_than_every_image_says_what_would_fit(tmp_path: Path) -> None:
    store = coordinate_store(tmp_path, 2, [(10, 30), (12, 13)])
    assert CropSampler(store, 12, batch=1, seed=0).left_out == 1
    with pytest.raises(HkdsrError, match=r"data\.patch is 13 .*set it to at most 12"):
        CropSampler(store, 13, batch=1, seed=0)


def test_prefetcher_gives_the_samplers_batches_in_order_and_stops(tmp_path: Path) -> None:
    sampler = CropSampler(coordinate_store(tmp_path, 2, [(30, 40)]), 6, batch=4, seed=0)
    threads = active_count()
    with Prefetcher(sampler, start=5) as batches:
        for step, batch in zip(range(5, 17), batches, strict=False):
            assert torch.equal(batch.hr, sampler.in_bytes(step).hr)
    assert active_count() == threads


def test_prefetcher_raises_what_the_sampler_raises(tmp_path: Path) -> None:
    store = coordinate_store(tmp_path, 2, [(30, 40)])
    unfinished = DerivedStore(tmp_path, store, "teacher", planes=1)
    threads = active_count()
    with Prefetcher(CropSampler(store, 6, 4, 0, unfinished), start=0) as batches, pytest.raises(KeyError):
        next(batches)
    assert active_count() == threads
