"""The names that others use stay where they are, and every name that the package promises is there."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

import hkdsr

NAMES = {
    "hkdsr": ("load", "upscale", "evaluate", "train", "distill", "export", "compare", "save", "HkdsrError"),
    "hkdsr.losses": ("fsm", "haar"),
    "hkdsr.data": ("imresize",),
    "hkdsr.scoring": ("psnr_y", "ssim_y"),
}


@pytest.mark.parametrize("module", NAMES)
def test_names_stay(module: str) -> None:
    for name in NAMES[module]:
        assert callable(getattr(import_module(module), name)), name


def test_all_that_is_promised_is_there() -> None:
    for name in hkdsr.__all__:
        assert getattr(hkdsr, name) is not None, name
    with pytest.raises(AttributeError, match="module 'hkdsr' has no attribute 'lode'"):
        _ = hkdsr.lode


def test_functions_show_their_own_arguments() -> None:
    """``evaluate`` was once a package in place of the function."""
    assert list(inspect.signature(hkdsr.evaluate).parameters)[:3] == ["network", "sets", "root"]
