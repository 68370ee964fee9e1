"""Batches that are cut on the device are those of the sampler, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from hkdsr.data import resident
from hkdsr.data.crops import CropSampler, Prefetcher
from hkdsr.data.derived import DerivedStore
from hkdsr.data.resident import ResidentSampler, batches
from hkdsr.data.store import ImageStore
from hkdsr.settings.degrade import Degrade

CPU = torch.device("cpu")


def with_teacher(store: ImageStore, folder: Path) -> DerivedStore:
    teacher = DerivedStore(folder, store, "teacher", 2)
    for index in teacher.missing:
        teacher.put(index, [store.hr(index) // 2, 255 - store.hr(index)])
    return teacher


@pytest.mark.parametrize("scale", [2, 3])
def test_they_are_the_samplers(tmp_path: Path, scale: int) -> None:
    store = tiny.store(tmp_path, scale, count=3, height=56, width=66)
    sampler = CropSampler(store, 10, 6, 3, with_teacher(store, tmp_path), share=(1, 2))
    on_device, ways = ResidentSampler(sampler, CPU), set()
    for step in range(12):
        ours, theirs = on_device.in_bytes(step), sampler.in_bytes(step)
        for one, other in zip((ours.lr, ours.hr, *ours.teacher), (theirs.lr, theirs.hr, *theirs.teacher), strict=True):
            assert one.dtype == torch.uint8
            assert torch.equal(one, other)
        ways |= {place.way for place in sampler.places(step)}
    assert ways == set(range(8))


def test_they_stay_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tiny.store(tmp_path)
    sampler = CropSampler(store, 10, 4, 3)
    total = sum(image.size for index in range(len(store)) for image in sampler.images(index))
    assert resident._fits(sampler, 4 * total)
    assert not resident._fits(sampler, 4 * total - 4)
    # As on a GPU, whose memory is that of the CPU here.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 0))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda image: image)
    monkeypatch.setattr(resident, "ResidentSampler", lambda sampler, device: ResidentSampler(sampler, CPU))
    gpu, free = torch.device("cuda"), [4 * total]
    with batches(sampler, 5, gpu) as found:
        assert not isinstance(found, Prefetcher)
        assert [torch.equal(next(found).lr, sampler.in_bytes(step).lr) for step in (5, 6)] == [True, True]
    degrading = CropSampler(store, 10, 4, 3, degrade=Degrade("real-esrgan"))
    for other, device, room in ((sampler, gpu, total), (sampler, CPU, 4 * total), (degrading, gpu, 4 * total)):
        free[0] = room
        with batches(other, 0, device) as found:
            assert isinstance(found, Prefetcher)
