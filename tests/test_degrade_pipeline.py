"""Whole degradations: sizes, orders, determinism, and settings that are refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import refusal

from hkdsr.data import rgb
from hkdsr.data.crops import CropSampler
from hkdsr.data.degrade import Degrader, random_of
from hkdsr.data.embedded import demo_files
from hkdsr.data.store import ImageStore
from hkdsr.data.variants import VariantStore
from hkdsr.settings.choices import DegradePreset
from hkdsr.settings.degrade import Degrade, Round
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.toml import read_recipe

PRESETS: tuple[DegradePreset, ...] = ("real-esrgan", "bsrgan")
NOTHING = Round(blur=0.0, resize=(0.0, 0.0, 1.0), noise=0.0, jpeg=0.0)
CLEAN = Degrade("real-esrgan", rounds=1, final_sinc=0.0, first=NOTHING)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return tiny.store(tmp_path_factory.mktemp("degrade"))


def photograph(height: int = 96, width: int = 120) -> np.ndarray:
    return rgb(next(iter(demo_files()[0].values())))[90 : 90 + height, 120 : 120 + width]


def degraded(settings: Degrade, scale: int = 2, index: int = 0) -> np.ndarray:
    return Degrader(settings, scale).degraded(photograph(), random_of(1, 2, index))


@settings(max_examples=25, deadline=None)
@given(
    preset=st.sampled_from(PRESETS),
    rounds=st.integers(1, 2),
    scale=st.integers(1, 4),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**31),
)
def test_any_size_gives_an_image_of_the_lr_size(
    preset: DegradePreset, rounds: int, scale: int, height: int, width: int, seed: int
) -> None:
    image = photograph(scale * height, scale * width)
    found = Degrader(Degrade(preset, rounds=rounds), scale).degraded(image, random_of(seed, 0, 0))
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
    again = Degrader(Degrade(preset, rounds=rounds), scale).degraded(image, random_of(seed, 0, 0))
    np.testing.assert_array_equal(found, again)


def test_without_any_step_only_the_size_changes() -> None:
    assert np.array_equal(Degrader(CLEAN, 1).degraded(photograph(), random_of(0, 0, 0)), photograph())
    shuffled = dataclasses.replace(CLEAN, shuffle=True)
    assert np.array_equal(Degrader(shuffled, 1).degraded(photograph(), random_of(0, 0, 0)), photograph())


def test_one_setting_of_a_preset_changes_that_alone() -> None:
    """Only noise, of one sigma, is left: what it adds has that standard deviation."""
    noisy = dataclasses.replace(
        CLEAN, first=dataclasses.replace(NOTHING, noise=1.0, noise_sigma=(6.0, 6.0), poisson=0.0, grey=0.0)
    )
    image = np.full((200, 200, 3), 128, np.uint8)
    added = Degrader(noisy, 1).degraded(image, random_of(0, 0, 0)).astype(float) - 128
    assert added.std() == pytest.approx(6, rel=0.02)
    resolved = Degrade("real-esrgan", first=Round(jpeg=0.5)).resolved(4)
    assert (resolved.first.jpeg, resolved.first.blur, resolved.second.jpeg) == (0.5, 1.0, 1.0)


def test_the_last_jpeg_comes_at_the_end_for_half_of_the_images_or_for_all_that_are_shuffled() -> None:
    """JPEG at quality 1 leaves flat blocks of 8x8 pixels where nothing follows, and smaller ones if it is reduced."""
    enlarged = dataclasses.replace(NOTHING, resize=(1.0, 0.0, 0.0), resize_range=(1.0, 4.0))
    last = dataclasses.replace(enlarged, jpeg=1.0, jpeg_quality=(1.0, 1.0))
    settings = Degrade("real-esrgan", final_sinc=0.0, first=NOTHING, second=last)

    def ends_in_jpeg(settings: Degrade, index: int) -> bool:
        grey = degraded(settings, index=index)[:48, :56].astype(float).mean(2)
        inside = np.abs(np.diff(grey, axis=1)).reshape(48, -1)
        at_edges = inside[:, 7::8]
        return np.delete(inside, np.s_[7::8], axis=1).mean() < 0.5 * at_edges.mean()

    share = np.mean([ends_in_jpeg(settings, index) for index in range(60)])
    assert 0.3 < share < 0.7
    shuffled = dataclasses.replace(settings, shuffle=True)
    assert all(ends_in_jpeg(shuffled, index) for index in range(10))


@pytest.mark.parametrize("preset", PRESETS)
def test_crops_depend_on_seed_step_and_place_alone(preset: DegradePreset, store: ImageStore) -> None:
    settings = Degrade(preset)
    sampler = CropSampler(store, 12, 4, seed=3, degrade=settings)
    forwards = [sampler.batch(step).lr for step in range(3)]
    fresh = CropSampler(store, 12, 4, seed=3, degrade=settings)
    assert all(torch.equal(fresh.batch(step).lr, forwards[step]) for step in (2, 0, 1))
    plain = CropSampler(store, 12, 4, seed=3)
    assert torch.equal(sampler.batch(1).hr, plain.batch(1).hr)
    assert not torch.equal(forwards[1], plain.batch(1).lr)
    image = photograph(24, 24)
    degrader = Degrader(settings, 2)
    drawn = [degrader.degraded(image, random_of(*place)).tobytes() for place in ((3, 1, 0), (3, 1, 1), (3, 2, 0))]
    drawn.append(degrader.degraded(image, random_of(4, 1, 0)).tobytes())
    assert len(set(drawn)) == len(drawn)


def test_processes_together_see_what_one_would(store: ImageStore) -> None:
    settings = Degrade("real-esrgan")
    whole = CropSampler(store, 12, 6, seed=3, degrade=settings).batch(4).lr
    for count in (2, 3):
        shares = [CropSampler(store, 12, 6, 3, share=(i, count), degrade=settings).batch(4).lr for i in range(count)]
        assert torch.equal(torch.cat(shares), whole)


def test_variants_are_kept_and_have_the_hr_of_their_image(store: ImageStore, tmp_path: Path) -> None:
    settings = Degrade("bsrgan", variants=3)
    variants = VariantStore(store, settings, tmp_path)
    assert len(variants) == 3 * len(store)
    for index in range(len(variants)):
        assert np.array_equal(variants.hr(index), store.hr(index // 3))
        assert variants.lr(index).shape == store.lr(index // 3).shape
    assert len({variants.lr(index).tobytes() for index in range(len(variants))}) == len(variants)
    (folder,) = tmp_path.glob("derived-*")
    (folder / "finished.log").write_text((folder / "finished.log").read_text().split()[0])  # a kill after one image
    again = VariantStore(store, settings, tmp_path)
    assert all(np.array_equal(again.lr(i), variants.lr(i)) for i in range(len(variants)))
    assert VariantStore(store, Degrade("bsrgan", variants=2), tmp_path).key != variants.key


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("[degrade]\nvariants = 2", "no preset: set degrade.preset"),
        ("[degrade]\npreset = 'real-esrgan'\n[degrade.first]\nblur = 1.5", r"degrade\.first\.blur is 1\.5: set it to"),
        ("[degrade]\npreset = 'bsrgan'\n[degrade.second]\njpeg_quality = [90, 30]", "set the least value first"),
        ("[degrade]\npreset = 'bsrgan'\n[degrade.first]\nresize = [1, 1]", "set 3 weights"),
        ("[degrade]\npreset = 'bsrgan'\n[degrade.first]\nresize_range = [0.2, 0.9]", "a value up to 1 and one from 1"),
        ("[degrade]\npreset = 'photo'", "choose one of none, real-esrgan, bsrgan"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(table)
    assert re.search(sentence, refusal(lambda: read_recipe(tmp_path / "r.toml", DistillRecipe)))
