"""The studies of the repository: each can be read, and committed results belong to their study and to each other."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
from stored_boards import read_boards, read_leaderboard

from hkdsr.settings.older import of_today
from hkdsr.studies.leaderboard.chart import chart
from hkdsr.studies.leaderboard.curves import curves
from hkdsr.studies.leaderboard.equal_time_markdown import equal_time_markdown
from hkdsr.studies.leaderboard.markdown import markdown
from hkdsr.studies.leaderboard.write import NAME, study_settings
from hkdsr.studies.published import find
from hkdsr.studies.study import read_study

FOLDER = Path(__file__).resolve().parents[1] / "studies"
STUDIES = sorted(FOLDER.glob("*.toml"))
RESULTS = sorted(FOLDER.glob(f"*/{NAME}.json"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_can_be_read(path: Path) -> None:
    study = read_study(path)
    assert study.plain is not None
    # Methods are compared with three seeds or more; with one seed only settings are chosen, on validation images.
    assert len(study.seeds) >= 3 or study.root.name == "val"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_results_belong_to_the_study(path: Path) -> None:
    study = read_study(FOLDER / f"{path.parent.name}.toml")
    content = json.loads(path.read_text(encoding="utf-8"))
    expected = study_settings(study)
    rows, expected_rows = content["study"].pop("rows"), expected.pop("rows")
    assert isinstance(expected_rows, list)
    for then, now in zip([content["study"], *rows], [expected, *expected_rows], strict=True):
        then, now = (of_today({name: json.dumps(value) for name, value in flat.items()}) for flat in (then, now))
        # A setting that is newer than the results is left out of them: it has its default.
        assert {name: now[name] for name in then} == then
    for board in [found["board"] for found in content["budgets"]] if study.budgets else [content]:
        entries = {entry["label"]: entry for entry in board["entries"]}
        # A row whose preparation is longer than a budget has no run.
        assert study.budgets or {row.label for row in study.rows} <= entries.keys()
        for entry in entries.values():
            assert set(entry["sets"]) == set(study.sets)
            for scores in entry["sets"].values():
                assert scores["psnr_y"] == pytest.approx(fmean(scores["by_image"]))
                assert scores["psnr_y"] == pytest.approx(fmean(scores["by_seed"]))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_page_and_chart_are_those_of_the_json_file(path: Path) -> None:
    study, title = read_study(FOLDER / f"{path.parent.name}.toml"), path.parent.name
    content = json.loads(path.read_text(encoding="utf-8"))
    tables = find(study.published.split()) if study.published else []
    if study.budgets:
        boards = read_boards(content)
        page, drawn = equal_time_markdown(study, title, boards, tables, f"{NAME}.svg"), curves(study, boards, title)
    else:
        board = read_leaderboard(content)
        page, drawn = markdown(study, title, board, tables, f"{NAME}.svg"), chart(board, title)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page
    assert path.with_suffix(".svg").read_text(encoding="utf-8") == drawn


NEEDED = ("none", "plain, longer", "slice init", "slice init, plain, longer", "logits", "FAKD", "HKDSR", "HKDSR+")


def test_one_study_compares_all_main_methods_on_all_sets() -> None:
    (path,) = [path for path in RESULTS if path.parent.name == "rivals_rlfn_x2"]
    content = json.loads(path.read_text(encoding="utf-8"))
    entries = {entry["label"]: entry for entry in content["entries"]}
    assert set(NEEDED) <= entries.keys()
    for label in NEEDED:
        assert set(entries[label]["sets"]) >= {"Set5", "Set14", "B100", "Urban100"}
        assert all(len(scores["by_seed"]) >= 3 for scores in entries[label]["sets"].values())
    assert not content["unfinished"]


def test_results_have_a_study() -> None:
    """A study may be committed before its results, but no results without their study."""
    assert {path.parent.name for path in RESULTS} <= {path.stem for path in STUDIES}
