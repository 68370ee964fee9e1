"""The notebook runs from its first cell to its last, shows images and a table, and is kept without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "distil.ipynb"


def test_it_is_kept_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_it_distils_and_shows_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=600).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    (table,) = (data["text/markdown"] for data in shown if "text/markdown" in data)
    psnr = {name: float(value) for name, value in re.findall(r"^\| ([\w, ]+) \| ([\d.]+) \|", table, re.MULTILINE)}
    assert list(psnr) == ["bicubic", "plain, equal steps", "HKDSR", "plain, equal seconds", "teacher"]
    assert psnr["bicubic"] < psnr["HKDSR"] < psnr["teacher"]
    assert psnr["plain, equal steps"] < psnr["HKDSR"]
