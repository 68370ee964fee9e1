"""The training loop: schedule, average, accumulation, precision, and a loss that is not finite."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from hkdsr.data.crops import CropSampler
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.exits import Exits, Outputs
from hkdsr.nets.files.load import build
from hkdsr.settings.recipe import Training
from hkdsr.training.distiller import Distiller
from hkdsr.training.log import read_log
from hkdsr.training.run import distill
from hkdsr.training.schedule import learning_rate


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> CropSampler:
    return CropSampler(tiny.store(tmp_path_factory.mktemp("data")), 10, 5, seed=3)


@pytest.mark.parametrize("milestones", [(), (0.5,), (2 / 3,), (0.25, 0.5, 0.75)])
def test_rate_is_pytorchs_multistep(milestones: tuple[float, ...]) -> None:
    training = tiny.settings(steps=24, milestones=milestones, gamma=0.3, lr=0.02)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.02)
    places = [round(24 * share) for share in milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, places, 0.3)
    for step in range(24):
        assert learning_rate(training, step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimiser.step()
        schedule.step()


def test_rate_of_the_paper() -> None:
    training = Training(steps=300_000)
    assert [learning_rate(training, step) for step in (0, 199_999, 200_000)] == [1e-4, 1e-4, 5e-5]


def test_the_rate_moves_the_weights(tmp_path: Path, sampler: CropSampler) -> None:
    seen: list[dict[str, Tensor]] = []
    toy = tiny.Toy()

    def validate(average: nn.Module) -> float:
        seen.append({name: value.clone() for name, value in toy.state_dict().items()})
        return 0.0

    tiny.fit(
        toy,
        sampler,
        tiny.settings(milestones=(0.5,), gamma=0.0, validate_every=1),
        tmp_path,
        validation=tiny.Scores(validate),
    )
    moved = [not tiny.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [True, True, False, False, False]
    assert [line["lr"] for line in read_log(tmp_path) if "lr" in line] == [0.01] * 3 + [0.0] * 3


def test_the_average_follows_the_weights(tmp_path: Path, sampler: CropSampler) -> None:
    toy = tiny.Toy()
    expected = {name: value.clone() for name, value in toy.state_dict().items()}

    def validate(average: nn.Module) -> float:
        assert not average.training
        for name, value in toy.state_dict().items():
            expected[name] = 0.8 * expected[name] + 0.2 * value
        for name, value in average.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
        return 0.0

    fitted = tiny.fit(toy, sampler, tiny.settings(validate_every=1), tmp_path, validation=tiny.Scores(validate))
    assert tiny.equal(fitted.average.state_dict(), tiny.state(tmp_path)["average"])
    assert not tiny.equal(fitted.average.state_dict(), toy.state_dict())


def test_the_best_average_is_given_to_on_best(tmp_path: Path, sampler: CropSampler) -> None:
    scores = iter([1.0, 3.0, 2.0, 3.0, 4.0, 0.0])
    best: list[tuple[int, float]] = []
    fitted = tiny.fit(
        tiny.Toy(),
        sampler,
        tiny.settings(validate_every=1),
        tmp_path,
        validation=tiny.Scores(lambda average: next(scores)),
        on_best=lambda average, step, score: best.append((step, score)),
    )
    assert best == [(1, 1.0), (2, 3.0), (5, 4.0)]
    assert fitted.best == tiny.state(tmp_path)["best"] == 4.0


@pytest.mark.parametrize(("then", "expected"), [("these", []), ("others", [(4, 1.0), (5, 2.0)])])
def test_a_best_score_holds_for_its_own_images(
    then: str, expected: list[tuple[int, float]], tmp_path: Path, sampler: CropSampler
) -> None:
    best: list[tuple[int, float]] = []

    def go_on(minutes: float | None, images: str, scores: list[float]) -> None:
        tiny.fit(
            tiny.Toy(),
            sampler,
            tiny.settings(validate_every=1, minutes=minutes),
            tmp_path,
            validation=tiny.Scores(lambda average: scores.pop(0), images),
            on_best=lambda average, step, score: best.append((step, score)),
        )

    for score in (9.0, 8.0, 7.0):
        go_on(0.0, "these", [score])
    assert best == [(1, 9.0)]
    go_on(None, then, [1.0, 2.0, 0.0])
    assert best[1:] == expected


@pytest.mark.parametrize("parts", [2, 3, 5, 9])
def test_accumulated_gradients_are_those_of_the_batch(parts: int, tmp_path: Path, sampler: CropSampler) -> None:
    toys = [tiny.Toy(), tiny.Toy()]
    toys[1].load_state_dict(toys[0].state_dict())
    for toy, accumulate in zip(toys, (1, parts), strict=True):
        tiny.fit(toy, sampler, tiny.settings(accumulate=accumulate), tmp_path / str(accumulate))
    assert toys[1].calls > toys[0].calls
    for one, other in zip(toys[0].parameters(), toys[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)
    for one, other in zip(tiny.losses(tmp_path / "1"), tiny.losses(tmp_path / str(parts)), strict=True):
        assert one[2] == pytest.approx(other[2], rel=1e-4)


def test_accumulation_with_hkdsr(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1, batch=5)
    distill(recipe)
    training = dataclasses.replace(recipe.training, accumulate=2)
    distill(dataclasses.replace(recipe, training=training, out=tmp_path / "parts"))
    (one,), (other,) = tiny.losses(recipe.out), tiny.losses(tmp_path / "parts")
    assert one[2] == pytest.approx(other[2], rel=1e-4)
    # After one step, Adam's first moment is a tenth of the gradient.
    whole, parts = (tiny.state(out)["optimiser"]["state"] for out in (recipe.out, tmp_path / "parts"))
    assert len(whole) == len(parts) > 20
    for index in whole:
        torch.testing.assert_close(whole[index]["exp_avg"], parts[index]["exp_avg"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite(log_every: int, tmp_path: Path, sampler: CropSampler) -> None:
    with pytest.raises(HkdsrError, match=r"^the loss term 'square' is nan at step 4: lower training.lr"):
        tiny.fit(tiny.Toy(breaks_at=4), sampler, tiny.settings(log_every=log_every), tmp_path)
    assert tiny.state(tmp_path)["step"] == 2
    assert all(value.isfinite().all() for value in tiny.state(tmp_path)["model"].values())


@pytest.mark.parametrize(
    ("precision", "feature", "expected"),
    [
        ("auto", "avx512", False),
        ("auto", "avx512_bf16", True),
        ("auto", "amx_tile", True),
        ("fp32", "avx512_bf16", False),
        ("bf16", "avx512", True),
    ],
)
def test_a_cpu_runs_in_bf16_where_it_computes_in_it_or_is_told_to(
    precision: Any, feature: str, expected: bool, tmp_path: Path, sampler: CropSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("avx512", "avx512_bf16", "amx_tile"):
        name = f"_is_{known}_supported"
        monkeypatch.setattr(torch.cpu, name, lambda has=known == feature: has, raising=False)
    seen: list[bool] = []

    class Probe(tiny.Toy):
        def forward(self, lr: Tensor, hr: Tensor, teacher: Outputs | None) -> dict[str, Tensor]:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(lr, hr, teacher)

    tiny.fit(Probe(), sampler, tiny.settings(steps=1, precision=precision), tmp_path)
    assert seen == [expected]


def test_losses_are_in_full_precision_though_the_student_is_in_bf16() -> None:
    student = build("compact:features=4,convs=4", 2)
    distiller = Distiller(student, Exits(student, (0.5,)), HKDSR().resolved(2))
    lr, hr = torch.rand(2, 3, 12, 12), torch.rand(2, 3, 24, 24)
    teacher = Outputs(torch.rand(2, 3, 24, 24), (torch.rand(2, 3, 24, 24),))
    with torch.autocast("cpu", torch.bfloat16):
        terms = distiller(lr, hr, teacher)
        images = distiller.outputs(lr)
    full = Outputs(images.final.float(), tuple(image.float() for image in images.exits))
    expected = distiller.method.losses(distiller.heads, LossInputs(hr, hr, full, teacher))
    for name, value in expected.items():
        assert torch.equal(terms[name], value), name
