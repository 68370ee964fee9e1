"""Settings that older versions wrote: their runs continue, and their results count, where they mean the same."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from hkdsr.methods import FAKD, HKDSR, HKDSRPlus, Logits, Method, compose
from hkdsr.settings.older import of_today
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.studies.study import Study


def flat(**settings: Any) -> dict[str, str]:
    return {name.replace("__", "."): json.dumps(value) for name, value in settings.items()}


def test_settings_of_this_version_stay() -> None:
    for method in (HKDSR(), HKDSR(kd_on_intermediate=False), HKDSRPlus(), Logits(), compose(HKDSR(), Logits())):
        for init in ("scratch", "prune"):
            today = flat_settings(DistillRecipe(method=method, init=init))
            assert of_today(today) == today


def test_the_old_defaults_are_those_of_a_student_that_is_not_pruned() -> None:
    old = flat(init="scratch", method__name="hkdsr", method__kd_on_intermediate=True)
    assert of_today(old)["method.kd_on_intermediate"] == "null"
    assert of_today({**old, **flat(init="prune")})["method.kd_on_intermediate"] == "true"
    assert of_today({**old, **flat(method__kd_on_intermediate=False)})["method.kd_on_intermediate"] == "false"


def test_removed_settings_count_only_with_the_value_that_is_always_used_now() -> None:
    old = flat(init="slice", method__name="hkdsr+", method__fsm_norm="none", method__probability=0.3)
    assert "method.fsm_norm" not in of_today(old)
    assert "method.probability" not in of_today(old)
    assert "method.probability" in of_today({**old, **flat(method__probability=0.5)})


@pytest.mark.parametrize("method", [HKDSR(), HKDSRPlus(), FAKD(), compose(HKDSR(), FAKD())], ids=str)
def test_runs_begun_before_there_were_cheaper_steps_continue(method: Method) -> None:
    new = ("affinity_every", "affinity_samples", "exits_every", "logits_share")
    today = flat_settings(DistillRecipe(method=method))
    left_out = {name for name in today if name.rpartition(".")[2] in new}
    if isinstance(method, HKDSRPlus):
        left_out.add("method.fsm_samples")
    assert left_out
    assert of_today({name: text for name, text in today.items() if name not in left_out}) == today


def test_a_schedule_without_a_kind_had_milestones() -> None:
    assert of_today(flat(training__milestones=[0.5]))["training.schedule"] == '"milestones"'
    assert of_today(flat(scale=2)) == flat(scale=2)


def test_recipes_with_arguments_in_order_keep_their_meaning() -> None:
    """New settings come last."""
    wanted = {
        TrainRecipe: "scale student init init_from out data training",
        DistillRecipe: "teacher scale student init init_from out data training exits method",
        Study: "teacher scale student out data training exits seeds budgets root sets rows longer_steps published",
    }
    for kind, names in wanted.items():
        assert [setting.name for setting in dataclasses.fields(kind)][: len(names.split())] == names.split()
