"""Whole images and tiles give the same: for scores, the self-ensemble, validation, and a teacher with exits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import photo, refusal
from PIL import Image
from torch import Tensor, nn

from hkdsr.data import imresize
from hkdsr.methods import Plain
from hkdsr.nets import Network
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.files.load import build, load
from hkdsr.scoring import psnr_y
from hkdsr.scoring.inference import super_resolve
from hkdsr.training.distiller import Distiller
from hkdsr.training.labelling import infer
from hkdsr.training.validate import Validation

LARGE = 1 << 30
SMALLEST_PROBE, LARGEST_PROBE = 82 * 82, 274 * 274
"""LR pixels of the images on which the reach of networks is measured that see little or everything."""
OVER_PROBE = (275, 280)
SEES_ALL = "rcan:groups=2,blocks=1,features=8,reduction=4"
CPU = torch.device("cpu")


class Room:
    """Lets a module run on images of up to ``pixels`` only, and counts those that did."""

    def __init__(self, module: nn.Module) -> None:
        self.pixels, self.runs = LARGE, 0
        module.register_forward_pre_hook(self._check)

    def _check(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].shape[-2] * given[0].shape[-1] > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.runs += 1


def trained() -> Network:
    """A network whose weights are of a trained one's order, so that neighbours count."""
    return load("tiny_x4")


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("ensemble", [False, True])
def test_scores_do_not_tell_tiles_from_the_whole(ensemble: bool) -> None:
    hr, network = photo(280, 388), trained()
    lr = imresize(hr, 1 / 4)  # 70 x 97
    with torch.inference_mode():
        expected = (network(torch.from_numpy(lr.copy()).permute(2, 0, 1)[None] / 255).clamp(0, 1) * 255).round()
    room = Room(network)
    whole = super_resolve(network, lr, ensemble=ensemble)
    if not ensemble:
        assert difference(whole, expected[0].permute(1, 2, 0).numpy().astype(np.uint8)) <= 1
    assert room.runs == (8 if ensemble else 1)
    room.pixels, room.runs = SMALLEST_PROBE, 0
    tiled = super_resolve(network, lr, ensemble=ensemble)
    assert room.runs > (32 if ensemble else 4)
    assert difference(whole, tiled) <= 1
    assert (whole != tiled).mean() < 1e-3
    assert psnr_y(tiled, hr, 4) == pytest.approx(psnr_y(whole, hr, 4), abs=1e-3)


def test_an_image_whose_tiles_do_not_fit_is_named() -> None:
    network = trained()
    Room(network).pixels = 10
    said = refusal(lambda: super_resolve(network, photo(), name=Path("set") / "a.png"))
    assert said.startswith("set/a.png: tiles of 16 pixels do not fit into the memory of cpu: cut it into smaller")


def test_no_tiles_are_scored_of_a_network_that_sees_everything() -> None:
    network = teacher(SEES_ALL, 0.1).network
    Room(network).pixels = LARGEST_PROBE
    said = refusal(lambda: super_resolve(network, photo(*OVER_PROBE), name="a.png"))
    assert said.startswith("a.png does not fit into memory as a whole, and the rcan network sees the whole image")


def teacher(description: str, std: float) -> NetworkWithExits:
    network = build(description, 2).eval()
    exits = Exits(network, (0.5,))
    for parameter in (*network.parameters(), *exits.parameters()):
        nn.init.normal_(parameter, std=std)
    return NetworkWithExits(network, exits).eval().requires_grad_(False)


def test_a_teachers_exits_are_the_same_in_tiles() -> None:
    together, lr = teacher("compact:features=4,convs=4", 0.15), photo(96, 132)
    room = Room(together)
    whole = infer(together, lr, CPU)
    assert all(np.ptp(image) > 50 for image in whole)
    room.pixels, room.runs = SMALLEST_PROBE, 0
    tiled = infer(together, lr, CPU)
    assert room.runs > 4
    assert len(tiled) == len(whole) == 2
    assert all(difference(a, b) <= 1 for a, b in zip(whole, tiled, strict=True))


def test_a_teacher_that_sees_everything_goes_on_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    together, lr = teacher(SEES_ALL, 0.1), photo(*OVER_PROBE)
    room = Room(together)
    whole = infer(together, lr, CPU)
    room.pixels, room.runs = LARGEST_PROBE, 0
    tiled = infer(together, lr, CPU)
    assert room.runs > 4
    assert whole[0].shape == tiled[0].shape
    assert any("the rcan network sees the whole image at once, so tiles" in message for message in caplog.messages)


def test_validation_in_tiles_sees_that_the_weights_have_changed(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    Image.fromarray(photo(192, 264)).save(tmp_path / "val" / "a.png")
    student = build("compact:features=8,convs=6", 2)
    room, module = Room(student), Distiller(student, None, Plain()).eval()
    validation = Validation(tmp_path / "val", 2, 1)
    for std in (0.0, 0.12):  # a reach of nothing, then of several pixels
        for parameter in student.parameters():
            nn.init.normal_(parameter, std=std)
        room.pixels, room.runs = LARGE, 0
        whole = validation.score(module)
        assert room.runs == 1
        room.pixels = SMALLEST_PROBE
        assert validation.score(module) == pytest.approx(whole, abs=1e-3)
        assert room.runs > 4
