"""The report of a run: read from its folder, finished or not, and beside other runs and networks."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
import tiny
import torch

from hkdsr.__main__ import main
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits
from hkdsr.nets.files.load import load, save
from hkdsr.report.content import Row
from hkdsr.report.labels import labels
from hkdsr.report.logged import VALIDATION
from hkdsr.report.run import read_run, sessions_text
from hkdsr.report.run_report import read_sources, run_report
from hkdsr.report.text import NOTE, text_table
from hkdsr.scoring import evaluate_set
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.run import distill, train


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DistillRecipe:
    """A finished run of two sessions, validated on images of its own."""
    folder = tmp_path_factory.mktemp("run")
    tiny.photographs(folder / "val", 2, 48, 60)
    recipe = tiny.data(tiny.recipe(folder, Logits(), validate_every=6), val=folder / "val")
    distill(dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, minutes=0.0)))
    distill(recipe)
    return recipe


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed between checkpoints: it has no file of weights, only last.pt of step 10 of 12."""
    folder = tmp_path_factory.mktemp("killed")
    recipe = tiny.recipe(folder, HKDSR())
    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(11))
    assert not (recipe.out / "student.safetensors").exists()
    return recipe.out


def test_a_finished_run(recipe: DistillRecipe) -> None:
    run = read_run(recipe.out)
    assert tiny.equal(run.network.state_dict(), load(recipe.out / "student.safetensors").state_dict())
    assert (run.label, run.steps, run.teacher, run.val) == ("out", 12, recipe.teacher, str(recipe.data.val))
    assert (run.setting("method.name"), run.setting("training.batch"), run.setting("none")) == ("logits", 3, None)
    assert run.note == run.sessions == sessions_text(recipe.out)
    assert [part.split(" in ")[0] for part in run.sessions.split("; ")] == ["steps 0 to 1", "1 to 12"]
    assert [curve.quantity for curve in run.curves] == [VALIDATION, "Loss term: pixel", "Loss term: logits"]
    validation, pixel, _ = run.curves
    assert [step for step, *_ in validation.points] == [6, 12]
    assert [step for step, *_ in pixel.points] == list(range(1, 13))


def test_a_killed_run_has_the_averaged_weights_of_its_checkpoint(killed: Path) -> None:
    run = read_run(killed, "mine")
    average = tiny.state(killed)["average"]
    assert all(torch.equal(value, average[f"student.{name}"]) for name, value in run.network.state_dict().items())
    assert (run.label, run.steps, run.setting("student")) == ("mine", 10, tiny.STUDENT)
    assert run.teacher == str(killed.parent / "teacher.safetensors")
    assert run.note.startswith("not finished, step 10 of 12; steps 0 until it was killed (cpu, ")


def test_weights_older_than_the_checkpoint_are_not_used(killed: Path, recipe: DistillRecipe, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path / "run")
    metadata = tiny.metadata(recipe.out / "student.safetensors")
    save(load(recipe.out / "student.safetensors"), tmp_path / "run" / "student.safetensors", {**metadata, "step": "5"})
    run = read_run(tmp_path / "run")
    assert run.steps == 10
    assert tiny.equal(run.network.state_dict(), read_run(killed).network.state_dict())


def test_many_losses_are_averaged(tmp_path: Path, recipe: DistillRecipe) -> None:
    shutil.copytree(recipe.out, tmp_path / "run")
    lines = ({"step": i, "seconds": float(i), "losses": {"pixel": float(i % 2)}} for i in range(1, 601))
    (tmp_path / "run" / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (curve,) = read_run(tmp_path / "run").curves
    assert len(curve.points) == 60
    assert {value for *_, value in curve.points} == {0.5}


def test_scores_are_those_of_the_images(recipe: DistillRecipe) -> None:
    run, (other,) = read_sources(recipe.out, ["compact_x2"])
    report = run_report(run, [other])
    assert [row.name for row in report.rows] == ["bicubic", "compact_x2", "out", "teacher"]
    assert recipe.data.val is not None
    networks = (None, load("compact_x2"), run.network, load(recipe.teacher))
    for row, network in zip(report.rows, networks, strict=True):
        score = evaluate_set(network, recipe.data.val, 2)
        assert (row.psnr, row.ssim) == pytest.approx((score.psnr_y, score.ssim_y))
        assert report.protocol == f"{score.protocol}. {run.remark}"  # the teacher is untrained
    assert [comparison.name for comparison in report.comparisons] == ["00", "01"]
    assert list(report.comparisons[0].images) == ["bicubic", "compact_x2", "out", "teacher"]
    assert report.compared == ("compact_x2", "out")
    assert report.title == "out"
    assert report.subtitle == f"teacher.safetensors distilled into {tiny.STUDENT} by logits; scored on 2 images"
    assert 'method.name = "logits"' in report.recipe_text.splitlines()


def test_images_are_files_and_folders(recipe: DistillRecipe, tmp_path: Path) -> None:
    folder = tiny.photographs(tmp_path / "folder", 6, 40, 44)
    single = tiny.photographs(tmp_path / "single", 1, 50, 50) / "00.png"
    report = run_report(read_run(recipe.out), images=[single, folder])
    assert [comparison.name for comparison in report.comparisons] == ["00", "00", "01", "02", "03", "04"]
    assert report.subtitle.endswith("scored on 7 images, the first 6 of which are shown")
    (bicubic,) = (row for row in report.rows if row.name == "bicubic")
    six, one = (evaluate_set(None, path, 2).psnr_y for path in (folder, single.parent))
    assert bicubic.psnr == pytest.approx((6 * six + one) / 7)


def test_without_its_teacher_and_validation_images(recipe: DistillRecipe, caplog: pytest.LogCaptureFixture) -> None:
    run = dataclasses.replace(read_run(recipe.out), teacher="gone.pth", val="gone")
    report = run_report(run)
    assert [row.name for row in report.rows] == ["bicubic", "out"]
    assert [comparison.name for comparison in report.comparisons] == ["chelsea", "coffee", "flower"]
    assert run_report(dataclasses.replace(run, teacher="")).subtitle.startswith(f"{tiny.STUDENT} distilled by logits; ")
    assert "The report is without the teacher: there is no checkpoint gone.pth" in caplog.text


def test_a_run_without_a_teacher(tmp_path: Path) -> None:
    base = tiny.recipe(tmp_path, steps=2)
    train(TrainRecipe(student=base.student, out=base.out, data=base.data, training=base.training))
    report = run_report(read_run(base.out), images=[tmp_path / "images" / "00.png"])
    assert [row.name for row in report.rows] == ["bicubic", "out"]
    assert report.subtitle == f"{tiny.STUDENT} trained without a teacher; scored on 1 image"


def test_labels_are_different(tmp_path: Path) -> None:
    for name in ("a/run.v2", "b/run.v2", "teacher"):
        (tmp_path / name).mkdir(parents=True)
    names = [tmp_path / "a/run.v2", tmp_path / "b/run.v2", tmp_path / "teacher", "net.pth"]
    assert labels(names, ("teacher",)) == ["a/run.v2", "b/run.v2", f"{tmp_path.name}/teacher", "net"]


def test_mistakes_are_named(recipe: DistillRecipe, tmp_path: Path) -> None:
    run = read_run(recipe.out)
    with pytest.raises(HkdsrError, match=r"there is no run .*absent: name the folder"):
        read_sources(tmp_path / "absent", [])
    with pytest.raises(HkdsrError, match=r"has no weights yet: wait for its first checkpoint"):
        read_run(tmp_path)
    with pytest.raises(HkdsrError, match="there is no checkpoint absent"):
        read_sources(recipe.out, ["absent"])
    with pytest.raises(HkdsrError, match="tiny_x4 is a x4 network and out a x2 one: compare networks of one scale"):
        run_report(run, read_sources(recipe.out, ["tiny_x4"])[1])
    with pytest.raises(HkdsrError, match=r"there is no image or folder .*absent\.png: name HR images"):
        run_report(run, images=[tmp_path / "absent.png"])
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(HkdsrError, match=r"last\.pt is damaged"):
        read_run(tmp_path)


def test_another_student_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    start = tiny.teacher(tmp_path / "start.safetensors", tiny.STUDENT)
    recipe = dataclasses.replace(tiny.recipe(tmp_path, steps=2), student=str(start))
    distill(recipe)
    (recipe.out / "student.safetensors").unlink()
    tiny.teacher(start, "compact:features=8,convs=4")
    with pytest.raises(HkdsrError, match=r"was trained with another student than .*start\.safetensors is now"):
        read_run(recipe.out)


def test_the_table_as_text() -> None:
    rows = [Row("bicubic", psnr=30.0, ssim=0.9), Row("n" * 30, 1500, 2 * 10**9, 12.34, 31.234, 0.95, 7, 8.6)]
    head, bicubic, other, note = text_table(rows)
    assert bicubic.split() == ["bicubic", "30.00", "0.9000"]
    assert other.split() == ["n" * 30, "1.5K", "2.00G", "12.3", "31.23", "0.9500", "7", "9"]
    assert head.index("PSNR-Y") + len("PSNR-Y") == bicubic.index("30.00") + 5 == other.index("31.23") + 5
    assert note == NOTE


def test_the_command_line(
    recipe: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    image = str(recipe.data.train[0] / "00.png")
    arguments = ["--images", image, "--against", "compact_x2", "-o", str(output), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["hkdsr", "report", str(recipe.out), *arguments])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["bicubic", "compact_x2", "out", "teacher"]
    assert lines[-1] == f"written: {output}"
    page = output.read_text(encoding="utf-8")
    assert all(f'<th scope="row">{name}' in page for name in ("bicubic", "compact_x2", "out", "teacher"))
    monkeypatch.setattr(sys, "argv", ["hkdsr", "report", str(recipe.out), "--images", image])
    main()
    assert capsys.readouterr().out.endswith(f"written: {recipe.out / 'report.html'}\n")
    monkeypatch.setattr(sys, "argv", ["hkdsr", "report", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("hkdsr report: there is no run ")
