from __future__ import annotations

import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hkdsr.data import embedded
from hkdsr.data.images import rgb
from hkdsr.errors import HkdsrError


def test_demo_images_are_photographs_and_none_is_on_both_sides() -> None:
    training, scoring = embedded.demo_files()
    assert len(training) >= 4
    assert len(scoring) >= 3
    images = [rgb(path) for path in (*training.values(), *scoring.values())]
    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == len(images)
    assert not {name.split("_")[0] for name in training} & {name.split("_")[0] for name in scoring}
    for image in images:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert min(image.shape[:2]) >= 300
        assert np.ptp(image.astype(int), axis=2).mean() > 1, "a grey image"


@pytest.mark.parametrize("installed", [False, True])
def test_missing_packages_name_the_extra(installed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without scikit-image, and with an installation of it that lacks the images."""
    module = ModuleType("skimage")
    module.__spec__ = ModuleSpec("skimage", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setitem(sys.modules, "skimage", module if installed else None)
    with pytest.raises(HkdsrError, match=r"astronaut\.png is missing from skimage: pip install 'hkdsr\[demo\]'"):
        embedded.demo_files()
