"""Published scores come out on the published sets, in every folder layout, and only by the stated protocol."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stub import StubNetwork
from torch import Tensor, nn

import hkdsr
from hkdsr.data import imresize, rgb
from hkdsr.errors import HkdsrError
from hkdsr.scoring import evaluate, evaluate_set, protocol, psnr_y, ssim_y
from hkdsr.scoring.benchmark import find_benchmark
from hkdsr.scoring.inference import super_resolve


class Nearest(StubNetwork):
    """Repeats pixels, times ``gain`` plus ``ramp`` from left to right, so that flips and ranges show."""

    def __init__(self, scale: int = 2, gain: float = 1.0, ramp: float = 0.0) -> None:
        super().__init__(scale)
        self.gain, self.ramp = nn.Parameter(torch.tensor(gain)), ramp
        self.frozen = nn.Dropout().eval()

    def shallow(self, x: Tensor) -> Tensor:
        assert not self.training
        return x

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        large = deep.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        return large * self.gain + self.ramp * torch.arange(large.shape[-1]) / large.shape[-1]


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth image, so that scores are ordinary ones."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return imresize(small, 8)[:height, :width]


def put(array: np.ndarray, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(place)


BICUBIC = {
    ("Set5", 2): 33.67,
    ("Set14", 2): 30.33,
    ("B100", 2): 29.56,
    ("Urban100", 2): 26.88,
    ("Set5", 4): 28.43,
    ("Set14", 4): 26.09,
    ("B100", 4): 25.96,
    ("Urban100", 4): 23.14,
}


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_has_its_published_score(shared: Path, name: str, scale: int) -> None:
    score = evaluate_set(None, shared / "benchmarks" / name, scale, progress=False)
    assert len(score.images) == {"Set5": 5, "Set14": 14}.get(name, 100)
    assert score.psnr_y == pytest.approx(BICUBIC[name, scale], abs=0.01)


def test_network_has_its_published_score(shared: Path) -> None:
    weights = shared / "weights/IMDN/IMDN_x4.pth"
    (score,) = evaluate(weights, "Set5", shared / "benchmarks")
    assert score.psnr_y == pytest.approx(32.21, abs=0.005)
    assert score.ssim_y == pytest.approx(0.895, abs=0.001)


def test_self_ensemble_helps_a_real_network(shared: Path, tmp_path: Path) -> None:
    put(rgb(shared / "benchmarks/Set5/HR/butterfly.png"), tmp_path / "butterfly.png")
    weights = shared / "weights/IMDN/IMDN_x4.pth"
    (plain,), (ensemble,) = (evaluate(weights, tmp_path, ensemble=on) for on in (False, True))
    assert 0.05 < ensemble.psnr_y - plain.psnr_y < 0.5
    assert "no self-ensemble" in plain.protocol
    assert ensemble.protocol.endswith("self-ensemble x8")


def test_one_set_or_several_by_name_are_scored(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "Set5/HR/a.png")
    (score,) = hkdsr.evaluate(Nearest(), "Set5", tmp_path)
    assert score == evaluate_set(Nearest(), tmp_path / "Set5", 2)
    assert [s.name for s in hkdsr.evaluate(None, ["Set5", "Set5"], tmp_path, scale=3)] == ["Set5", "Set5"]
    names = ["network", "sets", "root", "scale", "ensemble", "against"]
    assert list(inspect.signature(hkdsr.evaluate).parameters) == names


def test_signatures_are_those_of_plain_functions() -> None:
    assert hkdsr.evaluate is evaluate
    parameters = inspect.signature(hkdsr.evaluate).parameters
    empty = inspect.Parameter.empty
    expected = {"network": empty, "sets": empty, "root": ".", "scale": None, "ensemble": False, "against": None}
    assert {name: parameter.default for name, parameter in parameters.items()} == expected
    assert list(inspect.signature(hkdsr.compare).parameters) == ["study"]
    assert (hkdsr.scoring.psnr_y, hkdsr.scoring.ssim_y) == (psnr_y, ssim_y)


def test_scores_are_those_of_the_metrics_and_their_means(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        put(image(43, 50, seed), tmp_path / f"{name}.png")
    score = evaluate_set(None, tmp_path, 4)
    for scored, seed in zip(score.images, (0, 1), strict=True):
        hr = image(43, 50, seed)[:40, :48]
        sr = imresize(imresize(hr, 1 / 4), 4)
        assert (scored.psnr_y, scored.ssim_y) == (psnr_y(sr, hr, 4), ssim_y(sr, hr, 4))
    assert [scored.name for scored in score.images] == ["a", "b"]
    assert score.psnr_y == pytest.approx(sum(scored.psnr_y for scored in score.images) / 2)
    assert score.ssim_y == pytest.approx(sum(scored.ssim_y for scored in score.images) / 2)


def test_every_layout_gives_the_same_scores(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        hr = image(48, 60, seed)
        put(hr, tmp_path / f"ours/Set5/HR/{name}.png", tmp_path / f"flat/Set5/{name}.png")
        put(hr, tmp_path / f"edsr/Set5/HR/{name}.png", tmp_path / f"basicsr/Set5/GTmod12/{name}.png")
        lr = imresize(hr, 1 / 4)
        put(lr, tmp_path / f"edsr/Set5/LR_bicubic/X4/{name}x4.png", tmp_path / f"basicsr/Set5/LRbicx4/{name}.png")
        put(lr * 0, tmp_path / f"edsr/Set5/LR_bicubic/X2/{name}x2.png")
    ours, flat, edsr, basicsr = (
        evaluate_set(None, tmp_path / layout / "Set5", 4) for layout in ("ours", "flat", "edsr", "basicsr")
    )
    assert ours.images == flat.images == edsr.images == basicsr.images
    assert ours.protocol == flat.protocol
    assert edsr.protocol == protocol(4, lr_source="LR_bicubic/X4")
    assert basicsr.protocol == protocol(4, lr_source="LRbicx4")


def test_supplied_lr_is_what_the_network_sees(tmp_path: Path) -> None:
    hr = image(40, 40)
    put(hr, tmp_path / "HR/a.png")
    put(hr[::2, ::2] // 2, tmp_path / "LR_bicubic/X2/ax2.png")
    assert evaluate_set(Nearest(gain=2.0), tmp_path, 2).psnr_y > evaluate_set(Nearest(), tmp_path, 2).psnr_y + 10


def test_hr_beyond_a_supplied_lr_is_cut(tmp_path: Path) -> None:
    hr = image(43, 41)
    put(hr, tmp_path / "HR/a.png")
    put(imresize(hr[:40, :40], 1 / 4), tmp_path / "LR_bicubic/X4/ax4.png")
    lr, cut = find_benchmark(tmp_path, 4).pair(0)
    assert lr.shape == (10, 10, 3)
    assert (cut == hr[:40, :40]).all()


@pytest.mark.parametrize("size", [(10, 11), (11, 10), (9, 10), (20, 20)])
def test_supplied_lr_of_another_size(tmp_path: Path, size: tuple[int, int]) -> None:
    put(image(40, 40), tmp_path / "HR/a.png")
    put(image(*size), tmp_path / "LR_bicubic/X4/ax4.png")
    with pytest.raises(HkdsrError, match=r"ax4\.png has .* needs LR of 10x10"):
        evaluate_set(None, tmp_path, 4)


def test_missing_lr_image(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "GTmod12/a.png", tmp_path / "GTmod12/b.png")
    put(image(10, 10), tmp_path / "LRbicx4/a.png")
    with pytest.raises(HkdsrError, match=r"has no LR file for .*b\.png"):
        find_benchmark(tmp_path, 4)


def test_grey_images_are_three_equal_channels(shared: Path) -> None:
    benchmark = find_benchmark(shared / "benchmarks/Set14", 3)
    index = [path.stem for path in benchmark.hr].index("bridge")
    for pixels in benchmark.pair(index):
        assert pixels.shape[2] == 3
        assert (pixels == pixels[..., :1]).all()


def test_b100_has_three_names(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "BSDS100/GTmod12/a.png")
    scores = evaluate(None, ["B100", "BSD100", "BSDS100"], tmp_path, scale=2)
    assert {score.images for score in scores} == {scores[0].images}


def test_missing_sets_are_named_with_what_there_is(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "Set5/HR/a.png", tmp_path / "Mine/a.png")
    with pytest.raises(HkdsrError, match=r"no benchmark set .*Set14: name one of Mine, Set5"):
        evaluate(None, ["Set5", "Set14"], tmp_path, scale=2)
    with pytest.raises(HkdsrError, match="has none, so name another root"):
        evaluate(None, "Set5", tmp_path / "nowhere", scale=2)
    (tmp_path / "Empty/HR").mkdir(parents=True)
    with pytest.raises(HkdsrError, match="has no HR image"):
        evaluate(None, "Empty", tmp_path, scale=2)


def test_scale_must_fit(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "a.png")
    with pytest.raises(HkdsrError, match="set the scale to 2"):
        evaluate_set(Nearest(2), tmp_path, 4)
    with pytest.raises(HkdsrError, match="scale of bicubic"):
        evaluate(None, tmp_path)
    with pytest.raises(HkdsrError, match="scale is 0: set it to 2, 3, 4 or 8"):
        evaluate(None, tmp_path, scale=0)
    with pytest.raises(HkdsrError, match="sets is empty: name at least one set"):
        evaluate(None, [], scale=2)


@pytest.mark.parametrize("size", [(1, 1), (3, 30), (18, 40)])
def test_images_too_small_to_score(tmp_path: Path, size: tuple[int, int]) -> None:
    put(image(*size), tmp_path / "small.png")
    with pytest.raises(HkdsrError, match=r"small\.png is too small"):
        evaluate_set(None, tmp_path, 4)


def test_sr_is_clamped_and_rounded_to_bytes() -> None:
    lr = np.arange(0, 252, dtype=np.uint8).reshape(6, 14, 3)
    assert (super_resolve(Nearest(), lr) == np.repeat(np.repeat(lr, 2, 0), 2, 1)).all()
    doubled = super_resolve(Nearest(gain=2.0), lr)[::2, ::2]
    assert (doubled == np.minimum(lr.astype(int) * 2, 255)).all()
    assert (super_resolve(Nearest(gain=-1.0), lr) == 0).all()
    halved = super_resolve(Nearest(gain=0.503), lr)[::2, ::2]
    assert (halved == np.rint(lr * 0.503)).all()


def test_scoring_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    put(image(40, 40), tmp_path / "a.png")
    network = Nearest().train()
    network.frozen.eval()
    evaluate_set(network, tmp_path, 2)
    assert network.training
    assert not network.frozen.training
    assert network.gain.grad is None


def test_self_ensemble_turns_every_image_back() -> None:
    lr = image(12, 18)
    assert (super_resolve(Nearest(), lr, ensemble=True) == super_resolve(Nearest(), lr)).all()
    uneven = Nearest(gain=0.5, ramp=0.4)
    ensemble, plain = super_resolve(uneven, lr, ensemble=True), super_resolve(uneven, lr)
    for turns in range(4):
        for turn in (lambda a, k=turns: np.rot90(a, k), lambda a, k=turns: np.fliplr(np.rot90(a, k))):
            result = super_resolve(uneven, turn(lr), ensemble=True)
            # The eight images are summed in another order, which may tip a rounding.
            np.testing.assert_allclose(result.astype(int), turn(ensemble).astype(int), atol=1)
    assert (ensemble != plain).any()


def test_protocol_names_what_makes_numbers_comparable() -> None:
    assert protocol(4) == (
        "x4: HR cut to a multiple of 4, LR by MATLAB's 8-bit bicubic; SR rounded to 8 bits; PSNR and SSIM on unrounded "
        "BT.601 Y (16..235), 4 pixels cropped a side, mean over images; no self-ensemble"
    )
    assert len({protocol(s, e, lr) for s in (2, 3, 4) for e in (False, True) for lr in (None, "LR")}) == 12
