"""The terms of the log in TensorBoard's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hkdsr.methods import Plain
from hkdsr.training.log import read_log
from hkdsr.training.run import distill


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_event_file_holds_the_log(tmp_path: Path) -> None:
    recipe = tiny.data(tiny.recipe(tmp_path, Plain(), steps=4, tensorboard=True), val=tmp_path / "images")
    distill(recipe)
    events = EventAccumulator(str(recipe.out))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss/pixel", "val/psnr_y"}
    lines = read_log(recipe.out)
    losses = {line["step"]: line["losses"]["pixel"] for line in lines if "losses" in line}
    scores = {line["step"]: line["val_psnr_y"] for line in lines if "val_psnr_y" in line}
    for tag, expected in (("loss/pixel", losses), ("val/psnr_y", scores)):
        found = {event.step: event.value for event in events.Scalars(tag)}
        assert expected
        assert found == pytest.approx(expected, rel=1e-6)
