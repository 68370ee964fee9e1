"""Cards of exported networks: OpenModelDB's JSON and Markdown, with teacher, licences and hashes carried over."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import tiny
from small import refusal

import hkdsr
from hkdsr.deploy.card import Maker, warnings_of, write_cards
from hkdsr.methods import Logits
from hkdsr.nets.files.licence import is_non_commercial, licence_of
from hkdsr.nets.files.load import build, metadata

TOLD = {
    "teacher": "nets/teacher_x2.pth",
    "teacher_sha256": "ab" * 32,
    "step": "300",
    "recipe": json.dumps(
        {
            "method.name": '["hkdsr", "logits"]',
            "training.batch": "16",
            "data.patch": "48",
            "data.train": '["photos/BSDS500", "T91"]',
        }
    ),
}


def cards(folder: Path, name: str, told: dict[str, str], maker: Maker) -> tuple[dict[str, object], str]:
    """Of files with the content ``b"net"``."""
    target = folder / name
    target.write_bytes(b"net")
    if target.suffix in (".xml", ".param"):
        target.with_suffix(".bin").write_bytes(b"weights")
    json_card, text_card = write_cards(target, build("compact:features=8,convs=2", 2), told, maker)
    return json.loads(json_card.read_text()), text_card.read_text()


def test_everything_that_is_known_is_there(tmp_path: Path) -> None:
    facts, text = cards(tmp_path, "mine_x2.onnx", TOLD, Maker("jane-doe", "MIT", "Apache-2.0"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(facts.pop("date")))
    description = facts.pop("description")
    assert facts == {
        "name": "mine_x2",
        "author": "jane-doe",
        "license": "MIT",
        "tags": ["photo"],
        "architecture": "compact",
        "size": ["8 features", "2 convs"],
        "scale": 2,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [
            {
                "platform": "onnx",
                "type": "onnx",
                "size": 3,
                "sha256": hashlib.sha256(b"net").hexdigest(),
                "urls": [],
            }
        ],
        "images": [],
        "trainingIterations": 300,
        "trainingBatchSize": 16,
        "trainingHRSize": 96,
        "dataset": "BSDS500, T91",
    }
    assert description == (
        "A x2 network: 2.3 K parameters. Distilled by hkdsr and logits from teacher_x2.pth (SHA-256 of its weights: "
        f"{'ab' * 32}), whose licence is Apache-2.0."
    )
    assert str(description) in text
    assert f"- `mine_x2.onnx`, sha256 `{hashlib.sha256(b'net').hexdigest()}`" in text
    assert "- **Steps**: 300\n" in text
    assert "Note" not in text


def test_a_network_of_unknown_origin_has_a_card_too(tmp_path: Path) -> None:
    facts, text = cards(tmp_path, "net.param", {"step": "?", "recipe": "no JSON"}, Maker("jane"))
    assert facts["description"] == "A x2 network: 2.3 K parameters."
    assert facts["license"] is None
    assert not facts.keys() & {"trainingIterations", "dataset"}
    assert [(r["platform"], r["type"], r["size"]) for r in facts["resources"]] == [  # pyright: ignore
        ("ncnn", "param", 3),
        ("ncnn", "bin", 7),
    ]
    assert "- **Licence**: not given" in text


def test_a_non_commercial_teacher_is_said_aloud(tmp_path: Path) -> None:
    maker = Maker("jane", "MIT", "CC-BY-NC-4.0")
    (warning,) = warnings_of(maker, TOLD)
    assert "the teacher's licence, CC-BY-NC-4.0, forbids commercial use" in warning
    facts, text = cards(tmp_path, "a.onnx", TOLD, maker)
    assert "That licence forbids commercial use." in str(facts["description"])
    assert warning in text
    assert warnings_of(Maker("jane", "CC-BY-NC-SA-4.0", "CC-BY-NC-4.0"), TOLD) == []
    # What the student's file tells of its teacher counts as well.
    assert warnings_of(Maker("jane", "MIT"), {**TOLD, "teacher_licence": "CC-BY-NC-4.0"}) == [warning]
    (unknown,) = warnings_of(Maker("jane", "MIT"), TOLD)
    assert "is not known: give it with --teacher-licence" in unknown
    assert warnings_of(Maker("jane", "MIT"), {}) == []


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-NC-4.0", True),
        ("cc-by-nc-sa-4.0", True),
        ("PolyForm-Noncommercial-1.0.0", True),
        ("Apache-2.0", False),
        ("NCSA", False),
        ("", False),
    ],
)
def test_which_licences_forbid_commercial_use(licence: str, forbids: bool) -> None:
    assert is_non_commercial(licence) is forbids


def test_the_licence_of_weights_is_in_their_file_or_in_a_card_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    hkdsr.save(build("compact:features=4,convs=1", 2), file)
    assert licence_of(file) == ""
    file.with_suffix(".json").write_text('{"license": "CC-BY-NC-4.0"}')
    assert licence_of(file) == "CC-BY-NC-4.0"
    for other in ("[1]", "{}", '{"license": null}', "no JSON"):
        file.with_suffix(".json").write_text(other)
        assert licence_of(file) == ""
    assert "licence" not in metadata(file)


@pytest.mark.parametrize("author", ["", "Jane Doe", "-jane", "jane--doe", "a/b"])
def test_an_author_that_openmodeldb_does_not_take_is_named(author: str) -> None:
    assert "use letters, digits and single hyphens" in refusal(lambda: Maker(author))


def test_training_carries_the_licence_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny.recipe(tmp_path, Logits(), steps=1)
    Path(recipe.teacher).with_suffix(".json").write_text('{"license": "CC-BY-NC-4.0"}')
    student = tmp_path / "out" / "student.safetensors"
    hkdsr.distill(recipe)
    assert metadata(student)["teacher_licence"] == "CC-BY-NC-4.0"
    assert "teacher.safetensors, CC-BY-NC-4.0, forbids commercial use, of its students too" in caplog.text
    (warning,) = warnings_of(Maker("jane", "MIT"), metadata(student))
    assert "CC-BY-NC-4.0, forbids commercial use" in warning
