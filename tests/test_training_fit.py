"""The loop: exact resume after real kills, schedule, accumulation, and what a user is told when something breaks."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors import safe_open
from torch import Tensor, nn

from hkdsr import files
from hkdsr.data.crops import CropSampler
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Method, Plain
from hkdsr.nets.exits import Exits, Pictures
from hkdsr.nets.load import build
from hkdsr.recipe import DistillRecipe, Training
from hkdsr.training.distiller import Distiller
from hkdsr.training.fit import fit, learning_rate
from hkdsr.training.log import TrainingLog, read_log
from hkdsr.training.run import distill

RANDOM_HKDSR = HKDSR(fsm_samples=20, fsm_crop=16)


class Toy(nn.Module):
    """The loop knows nothing of methods: it trains any module that gives named terms."""

    def __init__(self, breaks_at: int = -1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.breaks_at, self.calls = breaks_at, 0

    def forward(self, lr: Tensor, hr: Tensor, teacher: Pictures | None) -> dict[str, Tensor]:
        self.calls += 1
        error = nn.functional.pixel_shuffle(self.conv(lr), 2) - hr
        broken = float("nan") if self.calls == self.breaks_at else 1.0
        return {"whole": error.abs().mean(), "square": broken * error.square().mean()}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> CropSampler:
    return CropSampler(tiny.store(tmp_path_factory.mktemp("data")), 10, 5, seed=3)


def settings(**changed: Any) -> Training:
    return dataclasses.replace(
        Training(steps=6, lr=1e-2, ema=0.8, device="cpu", log_every=1, save_every=2, batch=5), **changed
    )


def losses(out: Path) -> list[tuple[Any, ...]]:
    return [(line["step"], line.get("lr"), line.get("losses"), line.get("val_psnr_y")) for line in read_log(out)]


def distill_until(step: int, recipe: DistillRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed once the log holds the terms of ``step``."""
    real = TrainingLog.terms

    def terms(self: TrainingLog, at: int, *rest: Any) -> None:
        real(self, at, *rest)
        if at == step:
            raise tiny.Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "terms", terms)
        with pytest.raises(tiny.Killed):
            distill(recipe)


def start(folder: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    """The real command: HKDSR with stage 1, cached teacher's pictures and 90 steps."""
    flags = {
        "--teacher": folder / "teacher.safetensors",
        "--student": tiny.STUDENT,
        "--out": out,
        "--data.train": folder / "pictures",
        "--data.patch": 12,
        "--data.cache": cache,
        "--training.steps": 90,
        "--training.batch": 3,
        "--training.ema": 0.9,
        "--training.save-every": 7,
        "--training.log-every": 1,
        "--training.threads": 1,
        "--training.device": "cpu",
        "--exits.stage1-steps": 130,
        "--exits.stage1-batch": 2,
        "--method.fsm-samples": 20,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    command = [sys.executable, "-m", "hkdsr", "distill", *words, "--exits.allow-weak"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output.decode()


def kill_once(process: subprocess.Popen[bytes], due: Callable[[], bool]) -> None:
    while process.poll() is None and not due():
        time.sleep(0.001)
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"it was over before it could be killed: {output.decode()}"


def test_a_run_killed_in_every_stage_ends_as_one_never_killed(tmp_path: Path) -> None:
    tiny.photographs(tmp_path / "pictures", count=40)
    tiny.teacher(tmp_path / "teacher.safetensors")
    whole, cut = (tmp_path / "whole", tmp_path / "cache_whole"), (tmp_path / "cut", tmp_path / "cache_cut")
    finish(start(tmp_path, *whole))
    out, cache = cut
    moments = random.Random(5)
    kill_once(start(tmp_path, *cut), lambda: any(cache.glob("exits-*/last.pt")))
    assert not any(cache.glob("exits-*/heads.safetensors"))
    kill_once(start(tmp_path, *cut), lambda: any(log.stat().st_size > 20 for log in cache.glob("derived-*/*.log")))
    assert not (out / "log.jsonl").exists()
    for low, high in ((1, 6), (30, 45), (60, 75)):
        goal = moments.randint(low, high)
        kill_once(start(tmp_path, *cut), lambda goal=goal: len(read_log(out)) >= goal)
    assert 56 <= tiny.state(out)["step"] < 90
    finish(start(tmp_path, *cut))

    (heads,), (heads_cut,) = (list(folder.glob("exits-*/heads.safetensors")) for _, folder in (whole, cut))
    assert heads.read_bytes() == heads_cut.read_bytes()
    (planes,), (planes_cut,) = (list(folder.glob("derived-*/pictures.u8")) for _, folder in (whole, cut))
    assert planes.read_bytes() == planes_cut.read_bytes()
    state, state_cut = tiny.state(whole[0]), tiny.state(out)
    assert any(name.startswith("heads.0.gate") for name in state["model"])
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(state[part], state_cut[part]), part
    assert losses(whole[0]) == losses(out)
    assert len(losses(out)) == 90
    with (
        safe_open(whole[0] / "student.safetensors", "pt") as weights,
        safe_open(out / "student.safetensors", "pt") as weights_cut,
    ):
        names = list(weights.keys())
        assert names == list(weights_cut.keys())
        assert all(torch.equal(weights.get_tensor(name), weights_cut.get_tensor(name)) for name in names)
        metadata, metadata_cut = weights.metadata(), weights_cut.metadata()
        assert metadata.pop("seconds")
        assert metadata_cut.pop("seconds")
        assert metadata == metadata_cut
    assert not list(tmp_path.glob("*/.*.part"))


@pytest.mark.parametrize("method", [Plain(), Plain(exit_weight=0.2), Logits(), RANDOM_HKDSR], ids=lambda m: str(m)[:24])
def test_resume_is_exact(method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, method)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    distill_until(8, recipe, monkeypatch)
    assert tiny.state(recipe.out)["step"] == 5
    assert len(read_log(recipe.out)) == 8
    distill(recipe)
    state, state_cut = tiny.state(whole.out), tiny.state(recipe.out)
    for part in ("step", "fingerprint", "best", "model", "average", "optimiser"):
        assert tiny.equal(state[part], state_cut[part]), part
    assert losses(whole.out) == losses(recipe.out)


def test_the_gates_start_alike_whether_stage_1_was_trained_or_found(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1)
    distill(recipe)
    assert list((tmp_path / "cache").glob("exits-*/heads.safetensors"))
    distill(dataclasses.replace(recipe, out=tmp_path / "again"))
    assert tiny.equal(tiny.state(recipe.out)["model"], tiny.state(tmp_path / "again")["model"])


@pytest.mark.parametrize("milestones", [(), (0.5,), (2 / 3,), (0.25, 0.5, 0.75)])
def test_rate_is_pytorchs_multistep(milestones: tuple[float, ...]) -> None:
    training = settings(steps=24, milestones=milestones, gamma=0.3, lr=0.02)
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
    toy = Toy()

    def validate(average: nn.Module) -> float:
        seen.append({name: value.clone() for name, value in toy.state_dict().items()})
        return 0.0

    fit(toy, sampler, settings(milestones=(0.5,), gamma=0.0, validate_every=1), tmp_path, {}, validate=validate)
    moved = [not tiny.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [True, True, False, False, False]
    assert [line["lr"] for line in read_log(tmp_path) if "lr" in line] == [0.01] * 3 + [0.0] * 3


def test_the_average_follows_the_weights(tmp_path: Path, sampler: CropSampler) -> None:
    toy = Toy()
    expected = {name: value.clone() for name, value in toy.state_dict().items()}

    def validate(average: nn.Module) -> float:
        assert not average.training
        for name, value in toy.state_dict().items():
            expected[name] = 0.8 * expected[name] + 0.2 * value
        for name, value in average.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
        return 0.0

    fitted = fit(toy, sampler, settings(validate_every=1), tmp_path, {}, validate=validate)
    assert tiny.equal(fitted.average.state_dict(), tiny.state(tmp_path)["average"])
    assert not tiny.equal(fitted.average.state_dict(), toy.state_dict())


def test_the_best_average_is_handed_over(tmp_path: Path, sampler: CropSampler) -> None:
    scores = iter([1.0, 3.0, 2.0, 3.0, 4.0, 0.0])
    best: list[tuple[int, float]] = []
    fitted = fit(
        Toy(),
        sampler,
        settings(validate_every=1),
        tmp_path,
        {},
        validate=lambda average: next(scores),
        on_best=lambda average, step, score: best.append((step, score)),
    )
    assert best == [(1, 1.0), (2, 3.0), (5, 4.0)]
    assert fitted.best == tiny.state(tmp_path)["best"] == 4.0


@pytest.mark.parametrize("parts", [2, 3, 5, 9])
def test_accumulated_gradients_are_those_of_the_batch(parts: int, tmp_path: Path, sampler: CropSampler) -> None:
    toys = [Toy(), Toy()]
    toys[1].load_state_dict(toys[0].state_dict())
    for toy, accumulate in zip(toys, (1, parts), strict=True):
        fit(toy, sampler, settings(accumulate=accumulate), tmp_path / str(accumulate), {})
    assert toys[1].calls > toys[0].calls
    for one, other in zip(toys[0].parameters(), toys[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)
    for one, other in zip(losses(tmp_path / "1"), losses(tmp_path / str(parts)), strict=True):
        assert one[2] == pytest.approx(other[2], rel=1e-4)


def test_accumulation_with_hkdsr(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=1, batch=5)
    distill(recipe)
    training = dataclasses.replace(recipe.training, accumulate=2)
    distill(dataclasses.replace(recipe, training=training, out=tmp_path / "parts"))
    (one,), (other,) = losses(recipe.out), losses(tmp_path / "parts")
    assert one[2] == pytest.approx(other[2], rel=1e-4)
    # After one step, Adam's first moment is a tenth of the gradient.
    whole, parts = (tiny.state(out)["optimiser"]["state"] for out in (recipe.out, tmp_path / "parts"))
    assert len(whole) == len(parts) > 20
    for index in whole:
        torch.testing.assert_close(whole[index]["exp_avg"], parts[index]["exp_avg"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_no_number(log_every: int, tmp_path: Path, sampler: CropSampler) -> None:
    with pytest.raises(HkdsrError, match=r"^the loss term 'square' is nan at step 4: lower the learning rate"):
        fit(Toy(breaks_at=4), sampler, settings(log_every=log_every), tmp_path, {})
    assert tiny.state(tmp_path)["step"] == 2
    assert all(value.isfinite().all() for value in tiny.state(tmp_path)["model"].values())


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("training.lr", lambda r: dataclasses.replace(r, training=dataclasses.replace(r.training, lr=2e-3))),
        ("exits.stage1_steps", lambda r: dataclasses.replace(r, exits=dataclasses.replace(r.exits, stage1_steps=13))),
        ("method.sim_w", lambda r: dataclasses.replace(r, method=HKDSR(sim_w=0.3))),
        ("student", lambda r: dataclasses.replace(r, student="compact:features=5,convs=4")),
    ],
)
def test_other_settings_are_refused_before_anything_is_trained(
    setting: str, change: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, HKDSR(), steps=2)
    distill(recipe)
    before = (recipe.out / "last.pt").read_bytes()
    monkeypatch.setattr("hkdsr.training.stage1.fit", None)
    with pytest.raises(HkdsrError, match=rf"out was begun with other settings \({setting}\): set them back, or change"):
        distill(change(recipe))
    assert (recipe.out / "last.pt").read_bytes() == before


def test_other_teacher_or_pictures_are_refused(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=2)
    distill(recipe)
    file = tmp_path / "teacher.safetensors"
    original = file.read_bytes()
    tiny.teacher(file, "edsr:features=7,blocks=3")
    with pytest.raises(HkdsrError, match=r"\(teacher_sha256\)"):
        distill(recipe)
    file.write_bytes(original)
    (tmp_path / "pictures" / "00.png").unlink()
    with pytest.raises(HkdsrError, match=r"\(data\)"):
        distill(recipe)


def test_free_settings_may_change_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, RANDOM_HKDSR)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    distill_until(7, recipe, monkeypatch)
    recipe.out.rename(tmp_path / "moved")
    (tmp_path / "cache").rename(tmp_path / "cache2")
    tiny.photographs(tmp_path / "val", count=1)
    data = dataclasses.replace(recipe.data, cache=tmp_path / "cache2", val=tmp_path / "val", val_pictures=1)
    training = dataclasses.replace(
        recipe.training, log_every=3, save_every=4, validate_every=6, device="auto", threads=torch.get_num_threads()
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    distill(dataclasses.replace(recipe, out=tmp_path / "moved", data=data, training=training))
    state, moved = tiny.state(whole.out), tiny.state(tmp_path / "moved")
    assert tiny.equal(state["model"], moved["model"])
    assert tiny.equal(state["average"], moved["average"])
    assert [line["step"] for line in read_log(tmp_path / "moved")] == [1, 2, 3, 4, 5, 6, 6, 9, 12, 12]


def truncated(file: Path) -> bytes:
    return file.read_bytes()[: file.stat().st_size // 2]


def rewritten(content: Any) -> Callable[[Path], bytes]:
    def make(file: Path) -> bytes:
        torch.save(content, file)
        return file.read_bytes()

    return make


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: b"",
        lambda file: b"no checkpoint",
        lambda file: bytes(100),
        truncated,
        rewritten([1, 2]),
        rewritten(torch.zeros(3)),
        rewritten({"format": 1, "step": 3}),
        rewritten({"format": 99}),
        rewritten({}),
    ],
)
def test_a_damaged_checkpoint(damage: Callable[[Path], bytes], tmp_path: Path, sampler: CropSampler) -> None:
    fit(Toy(), sampler, settings(steps=2), tmp_path, {})
    file = tmp_path / "last.pt"
    file.write_bytes(damage(file))
    with pytest.raises(HkdsrError, match=r"^\S*last\.pt is damaged or from another version: delete it to start"):
        fit(Toy(), sampler, settings(), tmp_path, {})
    file.unlink()
    assert fit(Toy(), sampler, settings(), tmp_path, {}).steps == 6


def test_a_write_that_fails_leaves_the_checkpoint_before(
    tmp_path: Path, sampler: CropSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, reference = Toy(), Toy()
    reference.load_state_dict(toy.state_dict())
    fit(toy, sampler, settings(), tmp_path / "whole", {})
    with monkeypatch.context() as patch:
        real = files.os.fsync
        # The third is that of the second checkpoint: the log's and the first one's come before it.
        calls = iter(range(9))

        def full(descriptor: int) -> None:
            if next(calls) >= 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        patch.setattr(files.os, "fsync", full)
        with pytest.raises(HkdsrError, match=r"^cannot write \S*last\.pt \(No space left on device\): free space"):
            fit(reference, sampler, settings(), tmp_path / "cut", {})
    assert tiny.state(tmp_path / "cut")["step"] == 2
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["last.pt", "log.jsonl"]
    fit(Toy(), sampler, settings(), tmp_path / "cut", {})
    assert tiny.equal(tiny.state(tmp_path / "cut")["model"], tiny.state(tmp_path / "whole")["model"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up(small_disk: Path, tmp_path: Path, sampler: CropSampler) -> None:
    torch.manual_seed(0)
    fit(Toy(), sampler, settings(), tmp_path / "whole", {})
    # Room for the log, one checkpoint and a page more, but not for the next checkpoint beside it.
    pages = -(-(tmp_path / "whole" / "last.pt").stat().st_size // 4096)
    assert pages > 1
    filler = small_disk / "filler"
    filler.write_bytes(bytes(100 * 1024 - 4096 * (pages + 2)))
    torch.manual_seed(0)
    with pytest.raises(HkdsrError, match=r"cannot write \S*last\.pt \(No space left on device\): free space"):
        fit(Toy(), sampler, settings(), small_disk / "out", {})
    assert tiny.state(small_disk / "out")["step"] == 2
    filler.unlink()
    fit(Toy(), sampler, settings(), small_disk / "out", {})
    assert tiny.equal(tiny.state(small_disk / "out")["model"], tiny.state(tmp_path / "whole")["model"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_on_a_full_disk(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, tensorboard=False)
    log._file.close()
    log._file = FileIO("/dev/full", "ab")
    with pytest.raises(HkdsrError, match=r"^cannot write /dev/full \(No space left on device\): free space"), log:
        log.terms(1, 0.1, 1e-4, {"pixel": 0.5})


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path, sampler: CropSampler) -> None:
    fit(Toy(), sampler, settings(steps=6), tmp_path / "whole", {"a": "1"})
    with pytest.raises(HkdsrError):
        fit(Toy(breaks_at=6), sampler, settings(steps=6), tmp_path, {"a": "1"})
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "losses": {"wh')
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    fit(Toy(), sampler, settings(steps=6), tmp_path, {"a": "1"})
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert all(line["losses"].keys() == {"whole", "square"} for line in read_log(tmp_path))


def test_the_log_compares_each_term_to_the_pixel_term(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0, tensorboard=False) as log:
        log.terms(1, 0.1, 1e-4, {"pixel": 0.5, "fsm": 0.2})
        log.terms(2, 0.2, 1e-4, {"exit1": 0.5})
    assert [line["to_pixel"] for line in read_log(tmp_path)] == [{"fsm": 0.4}, {}]


@pytest.mark.parametrize(("precision", "expected"), [("auto", False), ("fp32", False), ("bf16", True)])
def test_autocast_on_a_cpu_only_where_asked_for(
    precision: Any, expected: bool, tmp_path: Path, sampler: CropSampler
) -> None:
    seen: list[bool] = []

    class Probe(Toy):
        def forward(self, lr: Tensor, hr: Tensor, teacher: Pictures | None) -> dict[str, Tensor]:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(lr, hr, teacher)

    fit(Probe(), sampler, settings(steps=1, precision=precision), tmp_path, {})
    assert seen == [expected]


def test_losses_are_in_full_precision_though_the_student_is_in_bf16() -> None:
    student = build("compact:features=4,convs=4", 2)
    distiller = Distiller(student, Exits(student, (0.5,)), HKDSR().resolved(2))
    lr, hr = torch.rand(2, 3, 12, 12), torch.rand(2, 3, 24, 24)
    teacher = Pictures(torch.rand(2, 3, 24, 24), (torch.rand(2, 3, 24, 24),))
    with torch.autocast("cpu", torch.bfloat16):
        terms = distiller(lr, hr, teacher)
        pictures = distiller.pictures(lr)
    full = Pictures(pictures.final.float(), tuple(picture.float() for picture in pictures.exits))
    expected = distiller.method.losses(distiller.heads, full, teacher, hr)
    for name, value in expected.items():
        assert torch.equal(terms[name], value), name
