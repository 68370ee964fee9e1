"""The leaderboards of a study with budgets, of given results: numbers, page, JSON and curves agree with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny_study
from stored_boards import read_boards

from hkdsr.errors import HkdsrError
from hkdsr.studies.budgets.measurement import RowMeasurement
from hkdsr.studies.budgets.plan import budget_run, plans
from hkdsr.studies.leaderboard.curves import curves
from hkdsr.studies.leaderboard.equal_time import collect_budgets
from hkdsr.studies.leaderboard.equal_time_markdown import equal_time_markdown
from hkdsr.studies.leaderboard.write import write_leaderboard
from hkdsr.studies.study import Study

SVG = "{http://www.w3.org/2000/svg}"
MEASURED = {
    "none": RowMeasurement({}, "1 CPU thread", 0, 0, 0, {"auto": 0.5}),
    "logits": RowMeasurement({}, "1 CPU thread", 0, 0, 30, {"cached": 0.5, "live": 0.8}),
    "FAKD": RowMeasurement({}, "1 CPU thread", 75, 0, 0, {"live": 1.0}),
}
LEVELS = {"none": (31.0, 32.0), "logits": (30.8, 32.5), "FAKD": (0.0, 32.1)}
"""PSNR of each row at 60 s and at 240 s."""


def study(out: Path) -> Study:
    made = tiny_study.study(out, budgets=("240 s", "60 s"))
    tiny_study.references(made)
    tiny_study.measure(made, MEASURED)
    return made


def finish(of: Study, late: float = 0.0) -> None:
    """Results of all runs, which take as long as was planned, those of logits ``late`` seconds longer."""
    for place, budget in enumerate(("60 s", "240 s")):
        for row in of.rows:
            made = plans(of, budget)[row.label]
            for seed in of.seeds if made.steps else ():
                level = LEVELS[row.label][place] + 0.01 * seed
                seconds = made.steps * made.step + (late if row.label == "logits" else 0)
                task = budget_run(of, budget, row, made, seed)
                scores = [level - 1, level, level + 1] if row.is_plain else [level - 1.1, level, level + 1.1]
                tiny_study.finish(of, task, scores, seconds, steps=made.steps, cached_passes=9.0)


def section(page: str, head: str) -> str:
    """The text below the heading of this name, up to the next of its kind."""
    return page.split(f"\n## {head}\n")[1].split("\n## ")[0]


def line(text: str, label: str, place: int = 0) -> list[str]:
    """The cells after the label in the ``place``-th line of that label."""
    found = [line for line in text.splitlines() if line.startswith(f"| {label} ")]
    return [cell.strip() for cell in found[place].strip("| ").split(" | ")][1:]


def test_numbers(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of)
    boards = collect_budgets(of, {})
    short, long = boards.budgets
    assert (short.budget, short.seconds, long.budget) == ("60 s", 60, "240 s")
    labels = [[entry.label for entry in found.board.entries] for found in (short, long)]
    assert labels == [["bicubic", "none", "logits", "teacher"], ["bicubic", "none", "logits", "FAKD", "teacher"]]
    differences = [
        {entry.label: entry.sets["SetB"].to_plain for entry in found.board.entries if entry.training}
        for found in (short, long)
    ]
    assert [found["logits"] and found["logits"].mean for found in differences] == pytest.approx([-0.2, 0.5])
    assert differences[1]["FAKD"] is not None
    assert differences[1]["FAKD"].mean == pytest.approx(0.1)
    assert [found.plans["logits"].teacher_images for found in (short, long)] == ["live", "cached"]
    assert short.off == long.off == {}
    assert short.board.unfinished == {}


def test_page_and_json(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of)
    path = write_leaderboard(of, "Equal time", {})
    page = path.read_text()
    assert page.startswith("# Equal time\n")
    assert "for 60 s and 240 s with all preparation" in page
    assert "20000" not in page
    short, long = section(page, "60 s"), section(page, "240 s")
    assert line(short, "FAKD") == ["fakd", "slice", "no run: preparation 75 s", "\N{EN DASH}"]
    assert line(long, "FAKD")[2].startswith("32.115")
    assert line(short, "logits", 1)[0].startswith("-0.200 [")
    assert line(short, "logits", 2)[:5] == ["75", "live", "0", "60", "1.00"]
    assert line(long, "logits", 2)[:5] == ["420", "cached", "30", "210", "1.00"]
    assert "Not equal in time" not in page
    measured = section(page, "Measured steps and preparation")
    dash = "\N{EN DASH}"
    assert line(measured, "none") == [dash, dash, dash, "1.00, 500 ms", "120", "480"]
    step = "cached 1.00, 500 ms; live 1.60, 800 ms"
    assert line(measured, "logits") == [dash, dash, "30", step, "75 live", "420 cached"]
    assert line(measured, "FAKD") == ["75", dash, dash, "2.00, 1e+03 ms", dash, "165"]
    assert "Measured on: 1 CPU thread." in measured
    content = json.loads(path.with_suffix(".json").read_text())
    assert content["study"]["budgets"] == ["240 s", "60 s"]
    assert "training.steps" not in content["study"]
    assert content["measurement"]["logits"]["step"] == {"cached": 0.5, "live": 0.8}
    assert [found["plans"]["logits"]["steps"] for found in content["budgets"]] == [75, 420]
    assert content["budgets"][1]["board"]["entries"][3]["label"] == "FAKD"
    assert str(tmp_path) not in path.with_suffix(".json").read_text()


def test_page_and_curves_can_be_made_from_the_json_file(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of, late=12)
    path = write_leaderboard(of, "t", {})
    boards = read_boards(json.loads(path.with_suffix(".json").read_text()))
    assert equal_time_markdown(of, "t", boards, [], "leaderboard.svg") == path.read_text()
    assert curves(of, boards, "t") == path.with_suffix(".svg").read_text()


def test_runs_off_their_budget_are_named(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of, late=12)
    page = write_leaderboard(of, "t", {}).read_text()
    named = "took over 10 % more or less than their budget: logits-60s-1 (+20 %), logits-60s-2 (+20 %)."
    assert named in section(page, "60 s")
    # Five per cent of the longer budget.
    assert "Not equal in time" not in section(page, "240 s")
    finish(of, late=-40)
    assert "logits-240s-1 (-17 %)" in section(write_leaderboard(of, "t", {}).read_text(), "240 s")


def test_unfinished_runs_and_no_results(tmp_path: Path) -> None:
    of = tiny_study.study(tmp_path, budgets=("240 s", "60 s"))
    with pytest.raises(HkdsrError, match="holds no finished run"):
        collect_budgets(of, {})
    of = study(tmp_path)
    page = write_leaderboard(of, "t", {"none-60s-2": "it broke"}).read_text()
    assert "- none-60s-2: it broke\n" in page
    assert "- fakd-240s-1" in page
    assert "fakd-60s" not in page
    task = budget_run(of, "60 s", of.rows[0], plans(of, "60 s")["none"], 1)
    tiny_study.finish(of, task, [31.0, 32.0, 33.0])
    assert "- none-60s-1" not in write_leaderboard(of, "t", {}).read_text()


def test_runs_of_different_origin_are_refused(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of)
    for budget in ("60s", "240s"):
        path = tmp_path / f"none-{budget}-2" / "result.json"
        text = path.read_text()
        path.write_text(text.replace('"data_sha256": "d"', '"data_sha256": "other"'))
        with pytest.raises(HkdsrError, match="made with different training images: change 'out'"):
            collect_budgets(of, {})
        path.write_text(text)


def test_curves_have_every_row_at_every_budget(tmp_path: Path) -> None:
    of = study(tmp_path)
    finish(of)
    boards = collect_budgets(of, {})
    root = ElementTree.fromstring(curves(of, boards, 'a < b & "c"'))
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert {'a < b & "c"', "SetA", "SetB", "none", "logits", "FAKD"} <= set(texts)
    assert (texts.count("60 s"), texts.count("240 s")) == (2, 2)
    lines = list(root.iter(f"{SVG}polyline"))
    points = {
        element.get("class", "").removeprefix("curve "): [
            tuple(map(float, point.split(","))) for point in element.get("points", "").split()
        ]
        for element in lines[:3]
    }
    assert len(lines) == 6  # three rows on two sets
    # In each panel the plain row is drawn last, over the others.
    logits, fakd, plain = points.values()
    assert list(points)[2] == "plain"
    assert [len(found) for found in (plain, logits, fakd)] == [2, 2, 1]
    # Logits is below the plain row at 60 s and above it, which is a smaller y, at 240 s; FAKD is between them.
    assert logits[0][1] > plain[0][1] > plain[1][1] > fakd[0][1] > logits[1][1]
    assert plain[0][0] == logits[0][0] < plain[1][0] == logits[1][0] == fakd[0][0]
    bars = [element for element in root.iter() if element.get("class", "").startswith("bar")]
    assert len(bars) == 6  # logits twice and FAKD once on two sets
    for bar in bars:
        assert float(bar.get("y1", "nan")) > float(bar.get("y2", "nan"))


def test_time_is_logarithmic(tmp_path: Path) -> None:
    of = tiny_study.study(tmp_path, budgets=("1 min", "4 min", "16 min"))
    tiny_study.references(of)
    tiny_study.measure(of, MEASURED)
    for budget in of.budgets:
        task = budget_run(of, budget, of.rows[0], plans(of, budget)["none"], 1)
        tiny_study.finish(of, task, [31.0, 32.0, 33.0])
    root = ElementTree.fromstring(curves(of, collect_budgets(of, {}), "t"))
    line = next(root.iter(f"{SVG}polyline"))
    first, second, third = (float(point.split(",")[0]) for point in line.get("points", "").split())
    assert math.isclose(second - first, third - second, abs_tol=0.2)


def test_what_has_hardly_begun_does_not_press_the_others_together(tmp_path: Path) -> None:
    """Bicubic enlargement has 30 dB, so that the panel ends at 29."""
    of = tiny_study.study(tmp_path, budgets=("1 min", "4 min"), rows=tiny_study.ROWS[:1])
    tiny_study.references(of)
    tiny_study.measure(of, {"none": MEASURED["none"]})
    for budget, psnr in (("1 min", 8.0), ("4 min", 32.0)):
        task = budget_run(of, budget, of.rows[0], plans(of, budget)["none"], 1)
        tiny_study.finish(of, task, [psnr] * 3)
    root = ElementTree.fromstring(curves(of, collect_budgets(of, {}), "t"))
    ticks = {float(text) for e in root.iter(f"{SVG}text") if (text := "".join(e.itertext())).replace(".", "").isdigit()}
    assert min(ticks) == 29
    clips = {element.get("id") for element in root.iter(f"{SVG}clipPath")}
    assert {f"url(#{name})" for name in clips} == {
        e.get("clip-path") for e in root.iter(f"{SVG}g") if e.get("clip-path")
    }
    assert len(clips) == 2
