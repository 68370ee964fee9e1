"""The leaderboard of made-up results: numbers, page and image say what was put in."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny_study

from hkdsr.errors import HkdsrError
from hkdsr.studies.board.board import Board, board
from hkdsr.studies.board.chart import image
from hkdsr.studies.board.leaderboard import write_leaderboard
from hkdsr.studies.controls import controls
from hkdsr.studies.study import LONGER, Study, training


def finished(out: Path) -> Study:
    study = tiny_study.study(out)
    tiny_study.finish_all(study)
    tiny_study.finish_row(study, LONGER[0], [[31.6, 32.7, 33.8], [31.8, 32.9, 34.0]], 25.0, 250)
    tiny_study.finish_row(study, LONGER[1], [[31.6, 32.7, 33.8]], 25.0, 250)
    return study


def cells(page: str, label: str) -> list[list[str]]:
    """The cells after the label in every table that has a line of that label."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {label} ")]
    return [[cell.strip() for cell in line[1:]] for line in lines]


def test_numbers(tmp_path: Path) -> None:
    found = board(finished(tmp_path), {})
    entries = {entry.label: entry for entry in found.entries}
    assert list(entries) == ["bicubic", "none", "logits", "FAKD", *(row.label for row in LONGER), "teacher"]
    plain, logits, fakd = (entries[name].sets["SetA"] for name in ("none", "logits", "FAKD"))
    assert plain.psnr_y == pytest.approx(32.1)
    assert plain.by_seed == pytest.approx((32.0, 32.2))
    assert plain.by_image == pytest.approx((31.1, 32.1, 33.1))
    assert plain.deviation == pytest.approx(0.2 / 2**0.5)
    assert (plain.gap, plain.to_plain) == (None, None)
    assert logits.gap == pytest.approx(0.6 / 1.9)
    assert logits.to_plain is not None
    assert logits.to_plain.real
    assert logits.to_plain.mean == pytest.approx(0.6)
    assert fakd.to_plain is not None
    assert not fakd.to_plain.real
    assert entries["teacher"].sets["SetA"].deviation is None
    assert entries["teacher"].training is entries["bicubic"].training is None
    training_ = entries["FAKD"].training
    assert training_ is not None
    assert (training_.wall_clock, training_.init) == (2.5, "slice")
    assert found.unfinished == {"slice-init-plain-longer-250-2": ""}


def test_page(tmp_path: Path) -> None:
    study = dataclasses.replace(finished(tmp_path), published="rcan x4")
    path = write_leaderboard(study, "My study", {"slice-init-plain-longer-250-2": "it broke: mend it"})
    page = path.read_text()
    assert page.startswith("# My study\n")
    assert "x2: by hand" in page
    assert "](leaderboard.svg)" in page
    assert cells(page, "none")[0] == ["none", "scratch", *["32.100 ± 0.141 / 0.9000"] * 2]
    assert cells(page, "logits")[0] == ["logits", "scratch", *["32.700 ± 0.141 / 0.9000 (32 %) ↑"] * 2]
    # Above on one image alone, so neither really above nor below; nor really below the best.
    assert cells(page, "FAKD")[0] == ["fakd", "slice", *["**32.467 ± 0.141 / 0.9000** (19 %)"] * 2]
    assert cells(page, "plain, longer")[0][2] == "**32.800 ± 0.141 / 0.9000** (37 %) ↑"
    assert cells(page, "slice init, plain, longer (1 of 2 seeds)")[0][2] == "**32.700 / 0.9000** (32 %)"
    assert cells(page, "teacher")[0] == ["", "", *["34.000 / 0.9000"] * 2]
    assert cells(page, "logits")[1] == ["+0.600 [+0.500, +0.700]"] * 2
    assert cells(page, "logits")[2] == ["100", "15", "1.50", "1.00", "0.00", "300 MiB"]
    assert "Trained on: 1 CPU thread." in page
    assert "The control rows take 250 steps, as many as take 'none' the seconds of 'FAKD', " in page
    assert "- slice-init-plain-longer-250-2: it broke: mend it" in page
    assert "26.74/0.8054" in page
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["entries"][2]["sets"]["SetB"]["psnr_y"] == pytest.approx(32.7)
    assert told["study"]["training.steps"] == 100
    assert [told["study"]["rows"][2][name] for name in ("label", "method.name", "init")] == ["FAKD", "fakd", "slice"]
    assert told["published"][0]["scale"] == 4
    assert str(tmp_path) not in path.with_suffix(".json").read_text()


def test_machines_that_differ_are_told(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.finish_all(study)
    for seed in (1, 2):
        task = training(study, study.rows[1], seed, 100)
        tiny_study.finish(study, task, [32.0, 32.0, 32.0], device="A GPU", teacher_passes=1.0, cached_passes=12.0)
    page = write_leaderboard(study, "t", {}).read_text()
    assert "1 CPU thread (none, FAKD); A GPU (logits). **Times of different machines do not compare.**" in page
    assert cells(page, "logits")[2][4] == "1.00 (12 before)"


def test_a_single_row_and_no_plain_one(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    with pytest.raises(HkdsrError, match="holds no finished run: run the study first"):
        board(study, {})
    tiny_study.references(study)
    assert "Nothing was trained yet." in write_leaderboard(study, "t", {}).read_text()
    tiny_study.finish_row(study, study.rows[1], [[32.0, 33.0, 34.0]])
    page = write_leaderboard(study, "t", {}).read_text()
    assert cells(page, "logits (1 of 2 seeds)")[0] == ["logits", "scratch", *["**33.000 / 0.9000**"] * 2]
    assert "no finished plain row" in page
    assert "wait for the other rows to be finished" in page
    assert controls(study) is None


def test_runs_of_different_origin_are_refused(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.finish_all(study)
    path = tmp_path / "logits-2" / "result.json"
    text = path.read_text()
    path.write_text(text.replace('"data_sha256": "d"', '"data_sha256": "other"'))
    with pytest.raises(HkdsrError, match="made from different training images: change 'out'"):
        board(study, {})
    path.write_text(text.replace('"p1"', '"q"'))
    with pytest.raises(HkdsrError, match="scored on different images of SetA"):
        board(study, {})


def drawn(found: Board, title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(image(found, title))


def dots(found: Board) -> list[tuple[str, str]]:
    return [(e.get("cx", ""), e.get("cy", "")) for e in drawn(found).iter() if e.get("class") == "mean"]


def test_image(tmp_path: Path) -> None:
    found = board(finished(tmp_path), {})
    root = drawn(found, 'a < b & "c"')
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {'a < b & "c"', "SetA", "SetB", "none", "logits", "FAKD"} <= set(texts)
    kinds = [element.get("class") for element in root.iter()]
    # Five students on two sets; all have two seeds but the last.
    assert (kinds.count("mean"), kinds.count("spread"), kinds.count("seed")) == (10, 10, 18)
    assert kinds.count("plain") == 2
    assert len(re.findall("http", image(found, "t"))) == 1


def test_image_follows_the_numbers(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path)
    tiny_study.finish_all(study)
    before = dots(board(study, {}))
    left_to_right = sorted(range(3), key=lambda row: float(before[row][0]))
    assert left_to_right == [0, 2, 1]
    tiny_study.finish_row(study, study.rows[2], [[33.0, 33.0, 33.0], [33.2, 33.2, 33.2]], 25.0)
    after = dots(board(study, {}))
    assert sorted(range(3), key=lambda row: float(after[row][0])) == [0, 1, 2]


def test_a_teacher_far_away_is_told_in_words(tmp_path: Path) -> None:
    study = tiny_study.study(tmp_path, rows=tiny_study.ROWS[:1])
    tiny_study.references(study)
    tiny_study.finish_row(study, study.rows[0], [[32.0, 32.0, 32.0], [32.02, 32.02, 32.02]])
    text = image(board(study, {}), "t")
    assert "teacher 34.00 →" in text
    places = [float(x) for x, _ in dots(board(study, {}))]
    width = float(ElementTree.fromstring(text).get("width", "0"))
    assert all(0 < place < width for place in places)
