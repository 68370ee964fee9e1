"""Published tables: found by network and scale, complete, with numbers from memory marked."""

from __future__ import annotations

import re
import sys

import pytest

from hkdsr.__main__ import main
from hkdsr.errors import HkdsrError
from hkdsr.studies.published import LEGEND, Table, find, markdown, published_text, tables


def test_a_cell_stands_under_its_column() -> None:
    table = Table("Title", ("net",), 2, "protocol", "source", ("Set5", "B100"), (("Teacher", "38.1/0.961", "32.2?"),))
    assert table.from_memory
    heading, cells, *rest = markdown(table).split("\n\n")
    assert heading == "### Title, x2"
    assert cells.splitlines() == ["|  | Set5 | B100 |", "| --- | ---: | ---: |", "| Teacher | 38.1/0.961 | 32.2? |"]
    assert rest == ["Protocol: protocol", "Source: source", LEGEND]


def test_all_words_must_match() -> None:
    for words in (["rcan", "x4"], ["RCAN", "X2"], ["x3", "swinir"]):
        network, scale = sorted((word.casefold() for word in words), key=lambda word: word[1:].isdigit())
        found = find(words)
        assert found
        assert found == [t for t in tables() if network in t.networks and t.scale == int(scale[1:])]


def test_every_table_is_complete() -> None:
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


def test_the_text_has_protocol_source_and_marks() -> None:
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
    lines = published_text([]).splitlines()
    assert len(lines) == len(tables())
    assert sum("not verified" in line for line in lines) == 2
    for table in tables():
        assert table in find([*table.networks, f"x{table.scale}"])


@pytest.mark.parametrize("words", [["vdsr"], ["san", "rcan"], ["rcan", "x8"]])
def test_words_that_match_no_table(words: list[str]) -> None:
    with pytest.raises(HkdsrError, match=f"no published table matches '{' '.join(words)}': choose from edsr,.*x4"):
        find(words)


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hkdsr", "compare", *arguments])
        main()
        return capsys.readouterr().out

    assert said("--published", "rcan", "x4") == published_text(["rcan", "x4"]) + "\n"
    assert len(said("--published").splitlines()) == len(tables())
    for arguments, naming in (
        ((), "name a study to run or --published tables to show"),
        (("study.toml", "--published", "rcan"), "name a study to run or --published"),
        (("--published", "vdsr"), "no published table matches 'vdsr': choose from"),
        (("absent.toml",), r"cannot read the recipe absent.toml"),
    ):
        with pytest.raises(SystemExit) as ended:
            said(*arguments)
        assert ended.value.code == 2
        assert f"hkdsr compare: {naming}" in capsys.readouterr().err
