"""What the tests share: the folder of real images and public weights, and the state that every test starts from."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("hkdsr", deadline=None)
settings.load_profile("hkdsr")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with benchmarks/, train/, val/ and weights/; set HKDSR_SHARED to name another one."""
    folder = Path(os.environ.get("HKDSR_SHARED", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real images and public weights are not at {folder}; set HKDSR_SHARED to their folder")
    return folder


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Every test starts from the same random state, and with messages that ``caplog`` sees."""
    torch.manual_seed(0)
    logger = logging.getLogger("hkdsr")
    logger.setLevel(logging.INFO)
    logger.propagate = True
    logger.handlers = []
