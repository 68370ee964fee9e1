"""The studies of the repository: each can be read, and results beside one are its own and agree among themselves."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from hkdsr.studies.board.leaderboard import NAME, told
from hkdsr.studies.study import read_study

FOLDER = Path(__file__).resolve().parents[1] / "studies"
STUDIES = sorted(FOLDER.glob("*.toml"))
RESULTS = sorted(FOLDER.glob(f"*/{NAME}.json"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_can_be_read(path: Path) -> None:
    study = read_study(path)
    assert study.plain is not None
    # On validation images settings are chosen, not methods compared.
    assert len(study.seeds) >= 3 or study.root.name == "val"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_results_are_those_of_the_study_as_it_stands(path: Path) -> None:
    study = read_study(FOLDER / f"{path.parent.name}.toml")
    found = json.loads(path.read_text(encoding="utf-8"))
    expected = told(study)
    rows, expected_rows = found["study"].pop("rows"), expected.pop("rows")
    assert isinstance(expected_rows, list)
    for then, now in zip([found["study"], *rows], [expected, *expected_rows], strict=True):
        # A setting that came later has its default, which changed nothing.
        assert {name: now[name] for name in then} == then
    entries = {entry["label"]: entry for entry in found["entries"]}
    assert {row.label for row in study.rows} <= entries.keys()
    for entry in entries.values():
        assert set(entry["sets"]) == set(study.sets)
        for scores in entry["sets"].values():
            assert scores["psnr_y"] == pytest.approx(fmean(scores["by_image"]))
            assert scores["psnr_y"] == pytest.approx(fmean(scores["by_seed"]))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_the_page_shows_the_numbers_of_the_json_file(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    for entry in found["entries"]:
        for scores in entry["sets"].values():
            assert f"{scores['psnr_y']:.3f}" in page
    assert path.with_suffix(".svg").exists()


NEEDED = ("none", "plain, longer", "slice init", "slice init, plain, longer", "logits", "FAKD", "HKDSR", "HKDSR+")


def test_a_study_of_the_rivals_is_there_with_all_that_it_must_show() -> None:
    (path,) = [path for path in RESULTS if path.parent.name == "rivals_rlfn_x2"]
    found = json.loads(path.read_text(encoding="utf-8"))
    entries = {entry["label"]: entry for entry in found["entries"]}
    assert set(NEEDED) <= entries.keys()
    for label in NEEDED:
        assert set(entries[label]["sets"]) >= {"Set5", "Set14", "B100", "Urban100"}
        assert all(len(scores["by_seed"]) >= 3 for scores in entries[label]["sets"].values())
    assert not found["unfinished"]


def test_every_study_has_been_run() -> None:
    assert {path.parent.name for path in RESULTS} == {path.stem for path in STUDIES}
