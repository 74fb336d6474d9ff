from html.parser import HTMLParser

import pytest

from course_lib import measure
from course_lib.tables import Table

HEAD = ["network", "named rightly", "finds it", "layer"]
ROWS = [
    ["photographs"],
    ["trained", measure.interval([True] * 9 + [False]), True, "conv5"],
    ["random <b>", 0.128, False, "11-20"],
]


class Parsed(HTMLParser):
    """The rows of a table as [(tag, attributes, text)], and whether every tag is closed in turn."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.open, self.caption = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append((tag, dict(attributes), ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "caption" in self.open:
            self.caption += text
        elif "tr" in self.open:
            tag, attributes, before = self.rows[-1][-1]
            self.rows[-1][-1] = (tag, attributes, before + text)


def test_the_page_has_a_cell_for_each_value_under_its_head():
    parsed = Parsed(Table(HEAD, ROWS, caption="n = 10 & more")._repr_html_())
    assert not parsed.open and parsed.caption == "n = 10 & more"
    texts = [[text for _, _, text in row] for row in parsed.rows]
    assert texts[:2] == [HEAD, ["photographs"]]
    assert texts[2] == ["trained", str(measure.interval([True] * 9 + [False])), "yes", "conv5"]
    assert texts[3] == ["random <b>", "0.13", "no", "11-20"]


def test_who_listens_hears_which_head_belongs_to_a_cell():
    head, group, *rows = Parsed(Table(HEAD, ROWS)._repr_html_()).rows
    assert [(tag, a["scope"]) for tag, a, _ in head] == [("th", "col")] * 4
    assert [(tag, a["scope"], a["colspan"]) for tag, a, _ in group] == [("th", "rowgroup", "4")]
    assert all([tag for tag, _, _ in row] == ["th", "td", "td", "td"] and row[0][1]["scope"] == "row" for row in rows)


def test_only_columns_of_words_stand_at_the_left():
    for row in Parsed(Table(HEAD, ROWS)._repr_html_()).rows:
        if len(row) == 4:
            assert ["class" in attributes for _, attributes, _ in row] == [True, False, True, True]


def test_an_interval_is_set_small_and_nothing_else_is():
    html = Table(["a", "b"], [["f (x)", "0.50 [0.40, 0.60]"]])._repr_html_()
    assert "<td>0.50 <small>[0.40, 0.60]</small></td>" in html
    assert "<small>(x)" not in Table(["a", "b"], [["many words (x)", 1]])._repr_html_()


def test_a_value_that_is_not_there_is_a_dash_and_its_column_stays_one_of_numbers():
    parsed = Parsed(Table(["a", "b"], [["x", float("nan")], ["y", 2]])._repr_html_())
    assert [row[1][2] for row in parsed.rows] == ["b", "–", "2"]
    assert not any("class" in row[1][1] for row in parsed.rows)


def test_the_text_has_its_columns_below_each_other():
    caption, head, group, *rows = str(Table(HEAD, ROWS, caption="shares")).splitlines()
    assert (caption, group) == ("shares", "photographs")
    starts = [head.index("finds it"), rows[0].index("yes"), rows[1].index("no")]
    ends = [head.index("rightly") + 7, rows[0].index("]") + 1, rows[1].index("0.13") + 4]
    assert len(set(starts)) == len(set(ends)) == 1


@pytest.mark.parametrize(
    ("head", "rows", "message"),
    [
        ([], [["a"]], "a head"),
        (["a", "b"], [], "at least one row"),
        (["a", "b", "c"], [["x", 1]], r"the head has 3 cells, but the row \['x', '1'\] has 2"),
    ],
)
def test_what_is_no_table_is_refused(head, rows, message):
    with pytest.raises(ValueError, match=message):
        Table(head, rows)
