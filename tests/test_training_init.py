"""The start of a student in real runs: the message on it, and that a resumed run keeps what it has learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
from safetensors import safe_open

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Plain
from hkdsr.nets.files.load import build, digest, load, save
from hkdsr.nets.start.initialise import initialise
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.run import distill, train

SLICED = "edsr:features=4,blocks=4"


def sliced(recipe: DistillRecipe) -> DistillRecipe:
    return dataclasses.replace(recipe, student=SLICED, init="slice")


def untrained(recipe: DistillRecipe) -> str:
    """The digest of the student that a run begins with."""
    frozen = dataclasses.replace(recipe.training, steps=1, lr=0.0)
    return digest(distill(dataclasses.replace(recipe, training=frozen)).network.state_dict())


def test_the_student_starts_from_slices_of_the_teacher_whatever_the_method(tmp_path: Path) -> None:
    starts = set()
    for index, method in enumerate((Plain(), Logits(), HKDSR())):
        recipe = dataclasses.replace(sliced(tiny.recipe(tmp_path, method)), out=tmp_path / str(index))
        starts.add(untrained(recipe))
    student = build(SLICED, 2)
    initialise(student, "slice", load(tmp_path / "teacher.safetensors"))
    assert starts == {digest(student.state_dict())}


def test_the_message_on_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = sliced(tiny.recipe(tmp_path, Plain(), steps=2))
    distill(recipe)
    count = sum(p.numel() for p in build(SLICED, 2).parameters())
    message = f"the student starts from slices of the teacher: {count:,} of its {count:,} weights"
    assert caplog.messages.count(message) == 1
    distill(recipe)
    assert caplog.messages.count(message) == 1


def test_a_resumed_student_keeps_what_it_has_learnt(tmp_path: Path) -> None:
    recipe = sliced(tiny.recipe(tmp_path, Logits(), steps=4, save_every=2))
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)

    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(3))
    with pytest.raises(HkdsrError, match=r"begun with other settings \(init\)"):
        distill(dataclasses.replace(recipe, init="scratch"))
    distill(recipe)
    state, cut = tiny.state(whole.out), tiny.state(recipe.out)
    for part in ("step", "fingerprint", "model", "average", "optimiser"):
        assert tiny.equal(state[part], cut[part]), part


def test_a_student_of_another_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=2)
    x2 = distill(recipe).weights
    tiny.teacher(tmp_path / "x4.safetensors", scale=4)
    recipe = dataclasses.replace(
        recipe, scale=4, teacher=str(tmp_path / "x4.safetensors"), init="student", init_from=x2, out=tmp_path / "x4"
    )
    plain = TrainRecipe(
        scale=4,
        student=recipe.student,
        init="student",
        init_from=x2,
        out=tmp_path / "train",
        data=recipe.data,
        training=dataclasses.replace(recipe.training, lr=0.0),
    )
    trained = train(plain)
    (message,) = (text for text in caplog.messages if text.startswith(f"the student starts from {x2}: "))
    assert message.endswith(" weights, fresh ones in body.10")
    assert digest(trained.network.state_dict()) == untrained(recipe)
    for block, of in zip(trained.network.blocks, load(x2).blocks, strict=True):
        assert digest(block.state_dict()) == digest(of.state_dict())
    with safe_open(trained.weights, "pt") as file:
        assert file.metadata()["init_from_sha256"] == digest(load(x2).state_dict())


def test_another_student_to_start_from_is_noticed_but_not_another_place(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, Plain(), steps=2)
    start = tiny.teacher(tmp_path / "start.safetensors", tiny.STUDENT)
    recipe = dataclasses.replace(recipe, init="student", init_from=start)
    distill(recipe)
    moved = start.rename(tmp_path / "moved.safetensors")
    assert distill(dataclasses.replace(recipe, init_from=moved)).steps == 2
    other = build(tiny.STUDENT, 2)
    save(other, start)
    with pytest.raises(HkdsrError, match=r"begun with other settings \(content of init_from\)"):
        distill(recipe)


def test_a_start_that_is_not_possible_is_found_before_any_time_is_spent(tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny.recipe(tmp_path, HKDSR()), init="slice")
    with pytest.raises(HkdsrError, match=r"^init is 'slice' but the teacher is of family edsr and the student of comp"):
        distill(recipe)
    assert not recipe.out.exists()
    assert recipe.data.cache is not None
    assert not recipe.data.cache.exists()
