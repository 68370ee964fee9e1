"""Teachers are measured when a distillation starts: broken ones refused; those that change images become the target."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import tiny_study
import torch
from small import refusal

from hkdsr.data.crops import CropSampler
from hkdsr.data.resize import imresize
from hkdsr.data.store import ImageStore
from hkdsr.methods import HKDSR, Logits, Method
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.files.load import build, load, save
from hkdsr.report.run import read_run
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.studies.leaderboard.collect import collect
from hkdsr.studies.leaderboard.markdown import conditions
from hkdsr.studies.results import read_result, write_result
from hkdsr.studies.study import training
from hkdsr.training import fidelity as fidelity_module
from hkdsr.training.fidelity import CHANGING, FIDELITY, ODD, fidelity
from hkdsr.training.run import distill
from hkdsr.training.stage1 import ExitTraining
from hkdsr.training.start_crops import start_crops

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return tiny.store(tmp_path_factory.mktemp("data"), height=120, width=130)


@pytest.fixture
def changing(tmp_path: Path) -> DistillRecipe:
    """A recipe of output distillation whose teacher repeats pixels: reduced again, its images are 43 dB from LR."""
    return recipe(tmp_path, Logits())


def recipe(folder: Path, method: Method) -> DistillRecipe:
    made = tiny.recipe(folder, method)
    save(tiny.nearest(2), folder / "teacher.safetensors")
    return dataclasses.replace(made, target="auto", allow_odd_teacher=False)


def terms(out: Path) -> list[tuple[float, float]]:
    """The L1 to the target and to the teacher's image, of every step."""
    return [(found["pixel"], found["logits"]) for _, _, found, _ in tiny.losses(out) if found]


def test_trained_enlarging_and_random_networks_are_told_apart(store: ImageStore) -> None:
    assert fidelity(load("compact_x2"), store, CPU) > CHANGING + 8
    assert ODD + 15 < fidelity(tiny.nearest(2), store, CPU) < CHANGING
    assert fidelity(build(tiny.TEACHER, 2).eval(), store, CPU) < ODD - 5


def test_fidelity_is_the_mean_psnr_of_crops_reduced_again(store: ImageStore) -> None:
    lr = CropSampler(store, 48, 8, 20).batch(0).lr.double()
    errors = [imresize(x[None].repeat_interleave(2, 2).repeat_interleave(2, 3), 1 / 2) - x for x in lr]
    expected = -10 * torch.stack([error.square().mean() for error in errors]).log10().mean()
    assert fidelity(tiny.nearest(2), store, CPU) == pytest.approx(float(expected), abs=0.02)


def test_an_odd_teacher_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    random = dataclasses.replace(tiny.recipe(tmp_path, Logits(), steps=1), allow_odd_teacher=False)
    message = refusal(lambda: distill(random))
    assert message.startswith(f"the images of the teacher {random.teacher}, reduced again")
    assert message.endswith("set allow_odd_teacher")
    assert not (random.out / "student.safetensors").exists()
    assert distill(tiny.replaced(random, allow_odd_teacher=True)).steps == 1


def test_the_images_of_a_teacher_that_changes_images_are_the_target(
    changing: DistillRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    distill(changing)
    assert all(pixel == logits for pixel, logits in terms(changing.out))
    assert any("changes images" in message and "target = 'hr'" in message for message in caplog.messages)
    assert float(tiny.metadata(changing.out / "student.safetensors")[FIDELITY]) < CHANGING


def test_the_ground_truth_stays_the_target_if_told_so_and_for_faithful_teachers(changing: DistillRecipe) -> None:
    told = tiny.replaced(changing, target="hr", out=changing.out / "told")
    faithful = tiny.replaced(changing, teacher="compact_x2", out=changing.out / "faithful")
    for one in (told, faithful):
        distill(one)
        assert all(pixel != logits for pixel, logits in terms(one.out))
    distill(asked := tiny.replaced(faithful, target="teacher", out=changing.out / "asked"))
    assert all(pixel == logits for pixel, logits in terms(asked.out))


@pytest.mark.parametrize("images", ["cached", "live"])
def test_a_continued_run_keeps_its_target(
    images: str, changing: DistillRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = tiny.exits(changing, teacher_images=images)
    distill(whole := tiny.replaced(changing, out=changing.out / "whole"))
    with pytest.raises(tiny.Killed):
        distill(changing, tiny.KilledAt(7))
    monkeypatch.setattr(fidelity_module, "fidelity", lambda *_: 60.0)  # another device, which rounds otherwise
    distill(changing)
    assert tiny.equal(tiny.state(changing.out)["model"], tiny.state(whole.out)["model"])
    first, second = (tiny.metadata(one.out / "student.safetensors") for one in (changing, whole))
    assert first[FIDELITY] == second[FIDELITY]


def test_a_run_of_a_version_without_the_check_keeps_the_ground_truth(changing: DistillRecipe) -> None:
    with pytest.raises(tiny.Killed):
        distill(tiny.replaced(changing, target="hr"), tiny.KilledAt(7))
    checkpoint = torch.load(changing.out / "last.pt", weights_only=True)
    del checkpoint["metadata"][FIDELITY], checkpoint["fingerprint"]["target"]
    torch.save(checkpoint, changing.out / "last.pt")
    distill(changing)
    assert all(pixel != logits for pixel, logits in terms(changing.out))


def test_exits_of_such_a_teacher_are_not_checked_against_the_ground_truth(tmp_path: Path) -> None:
    weak = tiny.exits(recipe(tmp_path, HKDSR()), stage1_steps=0, allow_weak=False)
    assert "no better than bicubic" in refusal(lambda: distill(tiny.replaced(weak, target="hr")))
    assert distill(tiny.replaced(weak, out=tmp_path / "allowed")).steps == 12
    whole = tiny.exits(weak, stage1_trainable="all")
    assert "stage1_trainable" in refusal(lambda: distill(tiny.replaced(whole, out=tmp_path / "whole")))


def test_exits_of_such_a_teacher_learn_its_images(store: ImageStore) -> None:
    network = tiny.nearest(2)
    teacher = NetworkWithExits(network, Exits(network, (0.5,)))
    lr, hr = (getattr(start_crops(store, count=2, side=16), name) for name in ("lr", "hr"))
    (exit_,), final = teacher(lr).exits, teacher(lr).final
    for is_target, target in ((False, hr), (True, final)):
        found = ExitTraining(teacher, False, False, is_target)(lr, hr, None)
        torch.testing.assert_close(found["exit1"], (exit_ - target).abs().mean())


def test_a_pruned_start_is_solved_for_its_images(changing: DistillRecipe) -> None:
    pruned = tiny.replaced(changing, student="compact:features=4,convs=3", init="prune")
    assert distill(pruned).steps == 12
    message = refusal(lambda: distill(tiny.replaced(pruned, target="hr", out=pruned.out / "hr")))
    assert message.startswith("the pruned start gives")  # it repeats pixels, which is worse than bicubic


def test_crops_have_the_images_of_the_target(store: ImageStore) -> None:
    plain, other = start_crops(store, count=3), start_crops(store, tiny.nearest(2), count=3)
    assert torch.equal(plain.lr, other.lr)
    assert torch.equal(other.hr, plain.lr.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_reports_and_tables_say_that_psnr_is_no_ranking(changing: DistillRecipe, tmp_path: Path) -> None:
    distill(changing)
    assert "no ranking" in read_run(changing.out).remark
    study = tiny_study.study(tmp_path / "study")
    tiny_study.finish_all(study)
    assert "no ranking" not in conditions(study, collect(study, {}), "100 steps")
    task = training(study, study.rows[1], 1, 100)
    result = read_result(study, task)
    assert result is not None
    write_result(study, task, dataclasses.replace(result, facts={**result.facts, FIDELITY: "31.25"}))
    assert "within 31.2 dB only" in conditions(study, collect(study, {}), "100 steps")
