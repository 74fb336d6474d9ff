"""The benchmarks' rows, their file and their page; nothing is timed here."""

import ast
import re
import signal

import pytest
import yaml

from bench import __main__ as command
from bench import measuring
from bench.rows import duration, show, versus
from course_lib.energy import activation
from course_lib.images import Pixels, grey
from course_lib.preimage import minimize
from project.benches import BENCHES, RESULTS, Record, Row, keep, load, shown
from project.repository import BOOK, ROOT
from tools import benchmarks

SHARED = {"__main__", "measuring", "rows"}
ROWS = (
    Row("a step", "the bare loop", "18 ms", "time", 0.97, 0.96, 0.99, 15, "at most 1.05"),
    Row("memory", "the bare loop", "40 MiB", "memory", 1.2, 1.1, 1.3, 3, "at most 1.1"),
    Row("growing", "plain Python", "31 s", "time", 0.00213, 0.00213, 0.00213),
    Row("a large dream", "", "2603 MiB", "memory"),
)
RECORD = Record("minimize", "2026-11-21", "3.13.1", "2.15.0", 2, "A processor", ROWS)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


# ---------------------------------------------------------------- rows


def test_a_ratio_is_the_median_of_the_rounds_with_its_quartiles():
    row = versus("a", "b", [1.0, 4.0, 3.0, 8.0, 5.0], [1.0, 2.0, 1.0, 2.0, 1.0])  # 1, 2, 3, 4, 5
    assert (row.low, row.ratio, row.high, row.n, row.ours) == (2, 3, 4, 5, "4.0 s")
    one = versus("a", "b", [20.0], [10.0], unit="memory", note="a note")
    assert (one.low, one.ratio, one.high, one.n, one.ours) == (2, 2, 2, 1, "20 MiB; a note")


def test_sides_of_different_rounds_and_unknown_units_are_refused():
    with pytest.raises(ValueError):
        versus("a", "b", [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no unit 'watts'; choose from time, memory"):
        versus("a", "b", [1.0], [1.0], unit="watts")


def test_a_bar_is_missed_by_the_ratio_as_it_is_shown():
    bars = {1.05: False, 1.0549: False, 1.0551: True, None: False}
    assert {ratio: ROWS[0]._replace(ratio=ratio).misses for ratio in bars} == bars
    assert not ROWS[1]._replace(bar="").misses


def test_numbers_are_short():
    assert [duration(x) for x in (0.0029, 0.018, 12.13, 127.4)] == ["2.9 ms", "18 ms", "12.1 s", "127 s"]
    assert [shown(row) for row in ROWS] == ["0.97 [0.96, 0.99]", "1.20 [1.10, 1.30]", "0.0021", ""]


def test_in_the_rounds_each_measure_is_first_equally_often():
    order = []
    found = measuring.interleaved(3, *(lambda name=name: order.append(name) or name for name in "abc"))
    assert "".join(order) == "abcbcacab"
    assert found == [["a"] * 3, ["b"] * 3, ["c"] * 3]


# ---------------------------------------------------------------- the file


def test_a_bench_takes_the_place_of_its_older_rows_and_of_no_others(tmp_path):
    path = tmp_path / "results.json"
    for record in (RECORD, RECORD._replace(bench="looking"), RECORD._replace(date="2026-12-01", rows=ROWS[:1])):
        keep(record, path)
    looking, minimize = load(path)
    assert looking == RECORD._replace(bench="looking")
    assert (minimize.bench, minimize.date, minimize.rows) == ("minimize", "2026-12-01", ROWS[:1])
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_what_fails_or_is_interrupted_loses_nothing_else(tmp_path, monkeypatch, capfd):
    def measured(bench):
        if bench in ends:
            raise ends[bench]
        return RECORD._replace(bench=bench)

    monkeypatch.setattr(command, "measured", measured)
    ends, path = {"looking": RuntimeError("no memory"), "texture": KeyboardInterrupt()}, tmp_path / "results.json"
    assert command.main(["looking", "minimize"], path) == 1
    assert command.main(["deepdream", "texture", "inversion"], path) == 130
    assert [record.bench for record in load(path)] == ["deepdream", "minimize"]
    said = capfd.readouterr()
    assert "failed, and not stored: looking" in said.out and "no memory" in said.err
    with pytest.raises(ValueError, match="no bench 'minimise'.*did you mean 'minimize'"):
        command.main(["minimise"], path)


def test_a_ctrl_c_inside_the_loop_gives_no_row(capfd):
    def interrupted(image):
        signal.raise_signal(signal.SIGINT)
        return image

    def rows():
        yield ROWS[0]
        minimize(interrupted, activation("", 0), Pixels(grey(4, 4)), steps=3)
        yield ROWS[1]

    with pytest.raises(KeyboardInterrupt):
        show(rows())
    assert capfd.readouterr().out.splitlines() == [f"  {ROWS[0]}"]


def test_the_file_of_the_repository_has_rows_of_every_bench_that_ran():
    records = load()
    names = [record.bench for record in records]
    assert names == sorted(set(names)) and set(names) <= set(BENCHES)
    for record in records:
        assert record.rows and record.threads > 0 and re.fullmatch(r"\d{4}-\d\d-\d\d", record.date)
        assert all(row.what and row.ours and row.unit in ("time", "memory") for row in record.rows)
        assert all((row.ratio is None) == (row.against == "") for row in record.rows)
    page = benchmarks.page()
    missing = page.partition("Not yet run:")[2]
    assert {bench for bench in BENCHES if f"[{bench}]" in missing} == set(BENCHES) - set(names)


def test_every_bench_is_listed_and_has_rows():
    files = {path.stem: path for path in RESULTS.parent.glob("*.py") if path.stem not in SHARED}
    assert sorted(files) == sorted(BENCHES)
    for path in files.values():
        (rows,) = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == "rows"]
        assert isinstance(rows, ast.FunctionDef) and rows.returns and ast.unparse(rows.returns) == "Iterator[Row]"


# ---------------------------------------------------------------- the page


def test_the_table_says_what_the_rows_say():
    lines = benchmarks.text([RECORD]).splitlines()
    table = [cells(line) for line in lines if line.startswith("|")]
    assert table[0] == ["What", "Against", "Ratio", "Ours", "Bar"]
    assert table[2:] == [
        ["a step", "the bare loop", "0.97 [0.96, 0.99]", "18 ms", "at most 1.05"],
        ["memory", "the bare loop", "1.20 [1.10, 1.30] (memory)", "40 MiB", "at most 1.1; misses it"],
        ["growing", "plain Python", "0.0021", "31 s", ""],
        ["a large dream", "", "", "2603 MiB", ""],
    ]
    (origin,) = [line for line in lines if line.startswith("*")]
    assert (
        "21 November 2026, A processor, torch on 2 threads, Python 3.13.1, torch 2.15.0. Rounds: 1 or 3 or 15."
        in origin
    )


def test_a_page_without_rows_names_what_has_not_been_run():
    page = benchmarks.text([])
    assert "|---|" not in page and "misses it" not in page
    assert all(f"[{bench}]" in page.partition("Not yet run:")[2] for bench in BENCHES)


def test_the_page_is_part_of_the_book_and_made_anew():
    parts = yaml.safe_load((ROOT / BOOK / "_toc.yml").read_text())["parts"]
    assert "benchmarks" in [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert f"{BOOK}/benchmarks.md" in (ROOT / ".gitignore").read_text().splitlines()
