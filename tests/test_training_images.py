"""The training images of several processes: each file is hashed by one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

from hkdsr.data import store
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store, file_digests
from hkdsr.training import images


@dataclass(frozen=True)
class Fake:
    """Process 1 of 3; ``others`` is what the other two have found."""

    others: Mapping[Path, str]
    rank: int = 1
    size: int = 3

    def gathered(self, value: dict[Path, str]) -> list[dict[Path, str]]:
        return [dict(self.others), value]


def test_each_process_hashes_its_share_and_what_no_other_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = find_pairs(tiny.photographs(tmp_path / "images", count=8), 2)
    files = [pair.file for pair in pairs]
    whole, read = file_digests(files), []
    real = store._digest
    monkeypatch.setattr(store, "_digest", lambda path: read.append(path) or real(path))
    for unseen in ([], [files[3]]):
        read.clear()
        others = {file: whole[file] for file in files if file not in files[1::3] and file not in unseen}
        monkeypatch.setattr(images, "process_group", lambda others=others: Fake(others))
        assert images.shared_digests(files) == whole
        assert sorted(read) == sorted([*files[1::3], *unseen])
    alone = build_store(pairs, 2, tmp_path / "one", progress=False)
    together = build_store(pairs, 2, tmp_path / "two", progress=False, digests=images.shared_digests)
    assert alone.key == together.key
