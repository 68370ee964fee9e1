"""Published tables: found by network and scale, complete, and honest about what is from memory."""

from __future__ import annotations

import re
import sys

import pytest

from hkdsr.__main__ import main
from hkdsr.errors import HkdsrError
from hkdsr.studies.published import described, find, markdown, tables


def cell(words: list[str], title: str, row: str, column: str) -> str:
    (table,) = (t for t in find(words) if t.title.startswith(title))
    (line,) = (line for line in table.rows if line[0] == row)
    return line[1 + table.columns.index(column)]


def test_cells_of_the_papers() -> None:
    assert cell(["rcan", "x4"], "RCAN 10x20 to 10x6", "DCKD* (with DUKD)", "Urban100") == "26.74/0.8054"
    assert cell(["RCAN", "X2"], "RCAN 10x20 to 10x6, 15.6", "FAKD", "Set14") == "33.83/0.9199"
    assert cell(["x3", "swinir"], "SwinIR, 11.9 M", "MiPKD", "B100") == "29.19/0.8079"
    assert cell(["rcan", "x4"], "RCAN, 15.59 M", "FAKD", "Urban100") == "26.422/0.7973"
    assert cell(["san", "x3"], "SAN", "Teacher", "Set5") == "34.750/0.9300"
    assert cell(["edsr", "x4"], "EDSR, 43 M", "0.25x width, CSD", "DIV2K") == "29.13/0.8416"
    assert cell(["edsr", "x2"], "EDSR 256/32", "FitNet", "Urban100") == "30.46?/0.9111?"
    assert cell(["edsr", "x4"], "EDSR 256/32", "DUKD/AugKD", "Set14") == "28.80/0.7866?"


def test_every_table_is_whole() -> None:
    number = r"\d\d\.\d{2,4}\??(/0\.\d{4}\??)?"
    for table in tables():
        assert table.scale in (2, 3, 4)
        assert table.protocol
        assert table.source
        assert table.rows
        for row in table.rows:
            assert len(row) == 1 + len(table.columns)
            assert all(re.fullmatch(number, value) for value in row[1:] if value), row
            assert any(row[1:])
            teacher = next((line for line in table.rows if line[0] == "Teacher"), row)
            for value, best in zip(row[1:], teacher[1:], strict=True):
                if value and best:
                    assert float(value[:5]) <= float(best[:5]) + 0.005, row


def test_the_page_tells_protocol_source_and_memory() -> None:
    remembered = [table for table in tables() if table.from_memory]
    assert {table.title for table in remembered} == {"EDSR 256/32 to 64/32, 43 M to 2.7 M parameters"}
    for table in tables():
        text = markdown(table)
        assert table.protocol in text
        assert table.source in text
        assert ("from memory" in text) == table.from_memory
    (csd,) = (table for table in find(["edsr", "x2"]) if "width" in table.title)
    assert "self-ensemble" in csd.protocol


def test_every_table_is_listed_and_found_by_its_words() -> None:
    lines = described([]).splitlines()
    assert len(lines) == len(tables())
    assert sum("not verified" in line for line in lines) == 2
    for table in tables():
        assert table in find([*table.networks, f"x{table.scale}"])


@pytest.mark.parametrize("words", [["vdsr"], ["san", "rcan"], ["rcan", "x8"]])
def test_what_is_not_there(words: list[str]) -> None:
    with pytest.raises(HkdsrError, match=f"no published table is about '{' '.join(words)}': choose from edsr,.*x4"):
        find(words)


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hkdsr", "compare", *arguments])
        main()
        return capsys.readouterr().out

    assert "26.74/0.8054" in said("--published", "rcan", "x4")
    assert len(said("--published").splitlines()) == len(tables())
    for arguments, naming in (
        ((), "name a study to run or --published tables to described"),
        (("study.toml", "--published", "rcan"), "name a study to run or --published"),
        (("--published", "vdsr"), "no published table is about 'vdsr': choose from"),
        (("absent.toml",), r"cannot read the recipe absent.toml"),
    ):
        with pytest.raises(SystemExit) as ended:
            said(*arguments)
        assert ended.value.code == 2
        assert f"hkdsr compare: {naming}" in capsys.readouterr().err
