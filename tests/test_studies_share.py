"""A row of a study with a share of the training images of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny_study

from hkdsr.errors import HkdsrError
from hkdsr.methods import Logits
from hkdsr.studies.budgets.measurement import RowMeasurement, linked, read_measurement
from hkdsr.studies.leaderboard.collect import collect
from hkdsr.studies.results import read_result, write_result
from hkdsr.studies.study import Row, Study, describe_row, read_study, training
from hkdsr.studies.tasks.measure import measure
from hkdsr.training.images import image_store

HALF = Row("logits, half", Logits(), share=0.5)


def finished_study(out: Path) -> Study:
    study = tiny_study.study(out, rows=(Row("none"), Row("logits", Logits()), HALF), longer_steps=0)
    tiny_study.references(study)
    for row in study.rows:
        tiny_study.finish_row(study, row, [[31.0, 32.0, 33.0], [31.2, 32.2, 33.2]])
    return study


def set_images(study: Study, row: Row, digest: str) -> None:
    """Make the images that a row's first run was trained with others."""
    task = training(study, row, study.seeds[0], study.training.steps)
    result = read_result(study, task)
    assert result is not None
    write_result(study, task, dataclasses.replace(result, facts={**result.facts, "data_sha256": digest}))


def test_only_this_row_has_the_share(tmp_path: Path) -> None:
    path = tiny_study.trainable(tmp_path, rows='[[rows]]\nlabel = "half"\nshare = 0.5\n')
    study = read_study(path)
    recipes = {row.label: training(study, row, 1, 12).recipe for row in study.rows}
    assert {label: recipe.data.share for label, recipe in recipes.items() if recipe} == {"none": 1.0, "half": 0.5}
    # Plain training with fewer images is not what the other rows are compared with.
    assert study.plain == study.rows[0]
    assert describe_row(study.rows[1]) == "none, 50 % of the images"
    assert describe_row(Row("a", Logits(), share=0.125)) == "logits, 12.5 % of the images"


def test_a_share_out_of_range_is_named(tmp_path: Path) -> None:
    path = tiny_study.trainable(tmp_path, rows='[[rows]]\nlabel = "half"\nshare = 1.5\n')
    with pytest.raises(HkdsrError, match=r"row 'half': data\.share is 1\.5"):
        read_study(path)


def test_rows_of_the_same_share_must_have_the_same_images(tmp_path: Path) -> None:
    study = finished_study(tmp_path)
    for seed in study.seeds:  # both runs of the row with a share: its images are others than those of the study
        set_images(dataclasses.replace(study, seeds=(seed,)), HALF, "half")
    entries = {entry.label: entry for entry in collect(study, {}).entries}
    described = entries["logits, half"].training
    assert described is not None
    assert described.method == "logits, 50 % of the images"
    set_images(study, study.rows[1], "others")
    with pytest.raises(HkdsrError, match="were made with different training images"):
        collect(study, {})


def test_the_images_of_a_share_cost_less(tmp_path: Path) -> None:
    rows = "".join(
        f'[[rows]]\nlabel = "{label}"\nmethod = {{name = "logits"}}\n{share}\n'
        for label, share in (("logits", ""), ("half", "share = 0.5"))
    )
    study = read_study(tiny_study.timed(tmp_path, rows=rows))
    measure(study)
    found = read_measurement(study)
    pixels = {}
    for row in study.rows:
        recipe = training(study, row, 1, 1).recipe
        assert recipe is not None
        pixels[row.label] = image_store(recipe).offsets[-1]
    assert pixels["half"] < pixels["logits"]
    assert found["half"].images == pytest.approx(found["logits"].images * pixels["half"] / pixels["logits"])


def test_a_later_row_has_the_seconds_of_images_of_its_own_share() -> None:
    def row(images: float, share: str) -> RowMeasurement:
        return RowMeasurement({"data.share": share}, "1 CPU thread", 0, 0, images, {"cached": 1.0})

    known = {"all": row(8, "1.0")}
    found = linked({"again": row(9, "1.0"), "half": row(4, "0.5")}, known, {"cached": 2.0}, {"cached": 1.0})
    assert found["again"].images == 8
    assert found["half"].images == 2
