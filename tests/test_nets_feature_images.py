"""Features as images: cosines between positions survive the disk, turned crops, and the training that reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from hostile import photo, refusal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hkdsr.data.crops import CropSampler, _turned
from hkdsr.data.store import ImageStore
from hkdsr.data.tensors import to_uint8
from hkdsr.methods import FAKD, HKDSRPlus, Logits, compose
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.feature_images import KEPT, FeatureImages, principal_directions
from hkdsr.nets.files.load import build
from hkdsr.settings.degrade import Degrade
from hkdsr.training.process_group import ALONE
from hkdsr.training.stored_features import feature_images, stored_depths
from hkdsr.training.teacher import prepared

CPU = torch.device("cpu")


def cosines(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, h*w)."""
    flat = F.normalize(features, dim=1).flatten(2)
    return flat.mT @ flat


def from_bytes(images: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [to_uint8(image) for image in images]


def to_batch(window: np.ndarray) -> Tensor:
    return torch.from_numpy(window.copy()).permute(2, 0, 1)[None] / 255


@given(st.integers(1, KEPT), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 7))
def test_cosines_survive_eight_bits_and_turned_crops(channels: int, scale: int, h: int, w: int, way: int) -> None:
    features = torch.randn(1, channels, h, w, generator=torch.Generator().manual_seed(channels))
    makes = FeatureImages((0, 2), [principal_directions(features)] * 2, scale)
    images = makes((features, -features))
    assert [tuple(image.shape) for image in images] == [(1, 3, scale * h, scale * w)] * makes.planes
    assert all(0 <= float(image.min()) <= float(image.max()) <= 1 for image in images)
    windows = [to_batch(_turned(image, way)) for image in from_bytes(images)]
    # The same symmetry of the square, of the features themselves.
    turned = torch.from_numpy(_turned(features[0].permute(1, 2, 0).numpy(), way).copy()).permute(2, 0, 1)[None]
    for found, sign in zip(makes.features(windows), (1, -1), strict=True):
        torch.testing.assert_close(cosines(found), cosines(sign * turned), rtol=0, atol=0.06)


def test_the_directions_are_those_in_which_the_features_lie() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(60, KEPT, generator=generator)).Q
    features = torch.einsum("ck,bkhw->bchw", basis, torch.randn(2, KEPT, 9, 9, generator=generator))
    found = principal_directions(features)
    torch.testing.assert_close(found @ found.T, torch.eye(KEPT), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.T @ (found @ basis), basis, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return tiny.store(tmp_path_factory.mktemp("data"), height=54, width=70)


def test_the_teacher_does_not_run_where_its_features_are_on_the_disk(store: ImageStore, tmp_path: Path) -> None:
    network = build("edsr:features=32,blocks=4", 2).eval().requires_grad_(False)
    exits = Exits(network, (0.5,), start="plain").eval().requires_grad_(False)
    depths = (0.5, 1.0)
    makes = feature_images(network, depths, store, tmp_path, CPU, ALONE)
    again = feature_images(network, depths, store, tmp_path, CPU, ALONE)
    assert all(torch.equal(a, b) for a, b in zip(makes.directions, again.directions, strict=True))
    assert len(list(tmp_path.glob("features-*.safetensors"))) == 1
    kept = prepared(NetworkWithExits(network, exits, makes), depths, store, tmp_path, "cached", CPU, ALONE)
    images = prepared(NetworkWithExits(network, exits), (), store, tmp_path, "cached", CPU, ALONE)
    assert kept.stored
    assert images.stored
    assert images.stored.lacked == 0  # exits and final images have stores of their own
    batch = CropSampler(store, 20, 4, 0, kept.stored).batch(0)
    watch = network.blocks[0].register_forward_hook(lambda *_: pytest.fail("the teacher runs"))
    outputs = kept.outputs(batch)
    watch.remove()
    theirs = images.outputs(CropSampler(store, 20, 4, 0, images.stored).batch(0))
    assert torch.equal(outputs.final, theirs.final)
    assert torch.equal(outputs.exits[0], theirs.exits[0])
    # Of the whole image, only 8 bits and 24 of 32 directions make a difference.
    planes = [to_batch(kept.stored.get(1 + plane, 0)) for plane in range(makes.planes)]
    whole = network.trace(to_batch(store.lr(0)), makes.taps).taps
    for found, features in zip(makes.features(planes), whole, strict=True):
        difference = (cosines(found) - cosines(features)).abs().mean()
        assert float(difference) < 0.05 * float((cosines(features) - cosines(features).mean()).abs().mean())
    # The crop's features are those of the image at its place.
    assert [tuple(of_tap.shape) for of_tap in outputs.features] == [(4, 24, 20, 20)] * 2


def test_on_a_photograph_the_loss_is_nearly_that_of_the_features_themselves(shared: Path) -> None:
    from hkdsr.losses import spatial_affinity_distance
    from hkdsr.nets.files.load import load

    teacher = load(shared / "weights" / "RLFN" / "rlfn_x2.pth").requires_grad_(False)
    student = build("rlfn:features=8,blocks=2", 2).requires_grad_(False)
    lr = torch.from_numpy(photo(64, 96).copy()).permute(2, 0, 1)[None] / 255
    theirs, ours = teacher.trace(lr, (2,)).taps[0], student.trace(lr, (0,)).taps[0].requires_grad_()
    makes = FeatureImages((2,), [principal_directions(theirs)], 2)
    (found,) = makes.features([to_batch(image) for image in from_bytes(makes((theirs,)))])
    losses = [spatial_affinity_distance(ours, of_teacher) for of_teacher in (theirs, found)]
    grads = [torch.autograd.grad(loss, ours)[0].flatten() for loss in losses]
    assert abs(losses[1].item() / losses[0].item() - 1) < 0.05
    assert float(F.cosine_similarity(*grads, dim=0)) > 0.97


def test_features_are_not_prepared_where_the_teacher_runs_in_every_step(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, FAKD(affinity_stored=True))
    assert stored_depths(recipe) == recipe.method.feature_depths
    assert stored_depths(tiny.recipe(tmp_path, FAKD())) == ()
    assert stored_depths(replace(recipe, exits=replace(recipe.exits, teacher_images="live"))) == ()
    assert stored_depths(replace(recipe, degrade=Degrade("real-esrgan"))) == ()


def test_who_takes_features_from_the_disk() -> None:
    assert not FAKD().stores_features
    assert FAKD(affinity_stored=True).stores_features
    assert compose(Logits(), HKDSRPlus(affinity_stored=True)).stores_features
    assert not compose(FAKD(), HKDSRPlus(affinity_stored=True)).stores_features
    assert not compose(Logits()).stores_features
    said = refusal(lambda: FAKD(affinity_stored=True, channel_weight=0.1))
    assert "set method.channel_weight to 0" in said
