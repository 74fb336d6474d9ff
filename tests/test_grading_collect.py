"""Who handed in what: layouts of learning platforms, resubmissions, odd archives, rosters."""

import json
import os
import time
import tracemalloc
import zipfile

import pytest

from course_lib.grading import collect, files, grade, notebook, roster
from course_lib.grading.__main__ import main
from course_lib.grading.report import tables, words

KEY = "a2"


def book(mark="a2.saliency", text=""):
    cell = {"cell_type": "code", "source": f"# answer: {mark}\n{text}", "metadata": {}, "outputs": []}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def fill(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def pack(path, made):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in made.items():
            archive.writestr(name, data)
    return path


def found(path, key=KEY, people=()):
    return {one.student: one for one in collect.collect(path, key, people).submissions}


LAYOUTS = {
    "nbgrader": {
        "submitted/ann/a2_pixels/a2_pixels.ipynb": book(),
        "submitted/ann/a1_embeddings/a1_embeddings.ipynb": book("a1.pairs"),
        "submitted/ann/a2_pixels/timestamp.txt": b"2026-11-30",
        "submitted/bob/a2_pixels/a2_pixels.ipynb": book(),
        "source/a2_pixels/a2_pixels.ipynb": book(),
        "autograded/ann/a2_pixels/a2_pixels.ipynb": book(),
        "gradebook.db": b"x",
    },
    "nbgrader, one student": {
        "submitted/ann/a2_pixels/a2_pixels.ipynb": book(),
        "submitted/ann/a1_embeddings/a1_embeddings.ipynb": book("a1.pairs"),
    },
    "GitHub Classroom": {
        "a2-pixels-submissions/a2-pixels-ann/.git/HEAD": b"ref",
        "a2-pixels-submissions/a2-pixels-ann/answers/a2_pixels.ipynb": book(),
        "a2-pixels-submissions/a2-pixels-ann/README.md": b"x",
        "a2-pixels-submissions/a2-pixels-bob-b/.git/HEAD": b"ref",
        "a2-pixels-submissions/a2-pixels-bob-b/a2_pixels.ipynb": book(),
        "a2-pixels-submissions/a2-pixels-bob-b/.ipynb_checkpoints/a2_pixels-checkpoint.ipynb": book(),
    },
    "Moodle": {
        "Ann Lee_41_assignsubmission_file_/a2_pixels.ipynb": book(),
        "Ann Lee_41_assignsubmission_onlinetext_/onlinetext.html": b"x",
        "Bob_42_assignsubmission_file_/sub/a2_pixels.ipynb": book(),
    },
    "Moodle without folders": {
        "Ann Lee_41_assignsubmission_file_a2_pixels.ipynb": book(),
        "Bob_42_assignsubmission_file_a2_pixels.ipynb": book(),
    },
    "Canvas": {
        "leeann_LATE_41_900_a2_pixels.ipynb": book(),
        "bob_42_901_a2_pixels-1.ipynb": book(),
        "cem_43_902_essay.docx": b"x",
    },
    "folders in folders": {"cem/sub/x.ipynb": book(), "dora/x.ipynb": book(), "eve/a/b/c/x.ipynb": book()},
    "plain files": {"ann.ipynb": book(), "bob.ipynb": book(), "notes.txt": b"x"},
    "a class in a folder": {"class/ann.ipynb": book(), "class/bob.ipynb": book()},
}
STUDENTS = {
    "nbgrader": ["ann", "bob"],
    "nbgrader, one student": ["ann"],
    "GitHub Classroom": ["ann", "bob-b"],
    "Moodle": ["Ann Lee_41", "Bob_42"],
    "Moodle without folders": ["Ann Lee_41", "Bob_42"],
    "Canvas": ["bob_42", "cem_43", "leeann_41"],
    "folders in folders": ["cem", "dora", "eve"],
    "plain files": ["ann", "bob"],
}


@pytest.mark.parametrize("layout", STUDENTS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_layout_names_its_students(layout, packed, tmp_path):
    files = LAYOUTS[layout]
    read = found(pack(tmp_path / "x.zip", files) if packed else fill(tmp_path / "x", files))
    assert sorted(read) == STUDENTS[layout]
    assert [one.student for one in read.values() if one.problem] == (["cem_43"] if layout == "Canvas" else [])


@pytest.mark.parametrize("layout", ["nbgrader", "Moodle", "plain files", "a class in a folder"])
def test_a_folder_that_was_packed_whole_changes_nothing(layout, tmp_path):
    files = {f"everything/{name}": data for name, data in LAYOUTS[layout].items()}
    read = found(pack(tmp_path / "x.zip", files))
    assert sorted(read) == STUDENTS.get(layout, ["ann", "bob"])


def test_what_was_not_understood_is_said(tmp_path):
    read = collect.collect(fill(tmp_path, LAYOUTS["nbgrader"]), KEY)
    assert sorted(name for name, _ in read.ignored) == [
        "autograded/ann/a2_pixels/a2_pixels.ipynb",
        "gradebook.db",
        "source/a2_pixels/a2_pixels.ipynb",
    ]
    lines = collect.summary(read)
    assert lines[0] == "found 2 students of assignment a2 (named by: folder 2)"
    assert sum("not understood" in line for line in lines) == 3


def test_names_of_entries_with_dots_and_double_slashes_are_read(tmp_path):
    read = found(pack(tmp_path / "x.zip", {"./ann.ipynb": book(), "bob//a2.ipynb": book(), "./cem/./a2.ipynb": book()}))
    assert sorted(read) == ["ann", "bob", "cem"]
    assert not any(one.problem for one in read.values())


def test_two_entries_of_one_name_stop_nobody(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("ann/a2.ipynb", book())
        archive.writestr("ann/a2.ipynb", book(text="x"))
        archive.writestr("bob/a2.ipynb", book())
    assert sorted(found(tmp_path / "x.zip")) == ["ann", "bob"]


def test_a_file_name_does_not_make_a_student_somebody_else(tmp_path):
    """Bob puts Ann's Canvas name, or her Moodle name, on the file in his own folder."""
    names = ("ann_12345_1_a2.ipynb", "Ann Lee_41_assignsubmission_file_a2.ipynb")
    for i, name in enumerate(names):
        folder = fill(tmp_path / str(i), {"ann_12345/a2.ipynb": book(text="hers"), f"bob/{name}": book(text="his")})
        read = found(folder)
        assert sorted(read) == ["ann_12345", "bob"]
        assert "hers" in read["ann_12345"].notebook.code[0][0]


def test_canvas_counts_the_first_number_and_not_one_in_the_students_file_name(tmp_path):
    read = found(fill(tmp_path, {"bob_42_901_ann_41_900_a2.ipynb": book(), "ann_41_900_a2.ipynb": book()}))
    assert sorted(read) == ["ann_41", "bob_42"]
    assert read["bob_42"].file == "ann_41_900_a2.ipynb"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ann_41_900_a2.ipynb", "ann_41_900_a2-1.ipynb"),
        ("ann_41_900_a2-1.ipynb", "ann_41_900_a2-2.ipynb"),
        ("ann_41_900_a2-9.ipynb", "ann_41_900_a2-10.ipynb"),
        ("ann_41_900_a2.ipynb", "ann_41_900_a2-Copy1.ipynb"),
        ("ann_41_900_a2.ipynb", "ann_41_900_a2 (1).ipynb"),
        ("ann_41_900_work.ipynb", "ann_LATE_41_955_final.ipynb"),
        ("ann_41/a2.ipynb", "ann_41/a2-1.ipynb"),
    ],
)
def test_of_two_versions_the_newest_counts_and_that_is_said(old, new, tmp_path):
    read = found(fill(tmp_path, {old: book(text="old"), new: book(text="new"), "bob_42_903_a2.ipynb": book()}))
    one = read["ann_41"]
    assert not one.problem
    assert "new" in one.notebook.code[0][0]
    assert "2 notebooks" in one.note and "the newest" in one.note
    assert one.late == ("LATE" in new)


def test_a_broken_resubmission_does_not_cost_the_good_one(tmp_path):
    read = found(fill(tmp_path, {"ann_41_900_a2.ipynb": book(text="good"), "ann_41_900_a2-1.ipynb": b"{"}))
    assert not read["ann_41"].problem
    assert "the newest that answers" in read["ann_41"].note


def test_the_notebook_of_another_assignment_is_told_apart(tmp_path):
    folder = fill(
        tmp_path, {"ann/one.ipynb": book("a1.pairs"), "ann/two.ipynb": book(), "bob/x.ipynb": book("a1.pairs")}
    )
    read = found(folder)
    assert read["ann"].file == "two.ipynb"
    assert "it answers assignment a1" in read["bob"].problem


def test_the_assignment_is_what_most_answer(tmp_path):
    files = {"ann/a.ipynb": book("a1.pairs"), "bob/a.ipynb": book(), "cem/a.ipynb": book()}
    assert collect.collect(fill(tmp_path, files)).assignment == "a2"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "dora.ipynb").write_bytes(book("other.thing"))
    with pytest.raises(ValueError, match="name it with --assignment"):
        collect.collect(tmp_path / "x")


# --- bounds -------------------------------------------------------------------------------------------------


def test_a_notebook_of_millions_of_values_is_refused_before_it_is_read():
    data = b'{"cells": [' + b"[]," * 5_000_000 + b"1]}"
    with pytest.raises(notebook.Unreadable, match="more than a million values"):
        notebook.read(data)


def test_an_answer_of_two_megabytes_costs_its_student_a_message_and_nobody_memory(tmp_path):
    read = notebook.read(book(text="x = 1\n" * 60_000))
    assert "100000 is the most" in read.too_long(("a2.saliency",))
    assert read.too_long(("a2.overlap",)) == ""
    with pytest.raises(notebook.Unreadable, match="million is the limit"):
        notebook.read(book(text="x = 1\n" * 400_000))


def test_a_written_answer_is_cut_where_nobody_reads_on():
    cell = {"cell_type": "markdown", "source": "<!-- answer: a2.logit -->\n" + "word " * 10_000}
    read = notebook.read(json.dumps({"cells": [cell]}).encode())
    assert len(read.written["a2.logit"]) < 21_000
    assert "cut off here, of 49999 characters" in read.written["a2.logit"]


def test_a_folder_of_two_thousand_notebooks_is_one_student(tmp_path):
    files = {f"ann/{i}.ipynb": book(text=str(i)) for i in range(2000)} | {"bob/a.ipynb": book()}
    read = found(pack(tmp_path / "x.zip", files))
    assert sorted(read) == ["ann", "bob"]
    assert "hand in one" in read["ann"].problem
    assert len(read["ann"].problem) < 500


# --- rosters ------------------------------------------------------------------------------------------------

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Homework (77)
    Points Possible,,,,,100
"Lee, Ann",41,U0041,al12,Lab 1,
"García, Zoë",42,U0042,zg7,Lab 2,
"Student, Test",99,,,Lab 1,
"""
MOODLE = (
    "First name;Surname;ID number;Email address\nAnn;Lee;7001;ann.lee@uni.example\nZoë;García;7002;zoe@uni.example\n"
)
OWN = "name\tgithub\textension\nAnn Lee\tann\t2026-12-04\nZoë García\tbob-b\t\n"


@pytest.mark.parametrize("text", [CANVAS, MOODLE, OWN])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_roster_is_read_however_it_was_saved(text, encoding, tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes(text.encode(encoding))
    people = roster.read(path)
    assert len(people) == 2
    assert people[1].name in ("García, Zoë", "Zoë García")


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (("41", "leeann"), "Lee, Ann"),
        (("0", "leeann"), "Lee, Ann"),
        (("Ann Lee",), "Lee, Ann"),
        (("al12",), "Lee, Ann"),
        (("GARCIA ZOE",), "García, Zoë"),
        (("u0042",), "García, Zoë"),
        (("nobody",), None),
        (("",), None),
    ],
)
def test_a_person_is_known_by_number_name_and_login(names, who, tmp_path):
    (tmp_path / "r.csv").write_text(CANVAS)
    person = roster.match(roster.read(tmp_path / "r.csv"), names)
    assert (person and person.name) == who


def test_two_of_one_name_are_nobody():
    people = (roster.Person("Ann Lee", "1"), roster.Person("Ann Lee", "2"))
    assert roster.match(people, ("Ann Lee",)) is None
    assert roster.match(people, ("2", "Ann Lee")) == people[1]


def test_the_roster_names_who_is_missing_and_who_is_a_stranger(tmp_path):
    (tmp_path / "r.csv").write_text(CANVAS)
    people = roster.read(tmp_path / "r.csv")
    files = {"leeann_41_900_a2.ipynb": book(), "eve_66_901_a2.ipynb": book()}
    read = collect.collect(fill(tmp_path / "x", files), KEY, people)
    by_name = {one.student: one for one in read.submissions}
    assert by_name["leeann_41"].person.number == "U0041"
    assert by_name["eve_66"].person is None and by_name["eve_66"].note == "not in the roster"
    assert [person.name for person in read.absent] == ["García, Zoë"]
    assert "1 of them are in the roster, which has 2; 1 handed in nothing" in collect.summary(read, people)[1]


def test_who_claims_to_be_somebody_who_handed_in_is_neither(tmp_path):
    people = (roster.Person("Ann Lee", "41"),)
    read = found(fill(tmp_path, {"41/a2.ipynb": book(), "Ann Lee/a2.ipynb": book(), "x/a2.ipynb": book()}), KEY, people)
    assert {one.person for one in read.values()} == {None}
    assert read["41"].note == read["Ann Lee"].note == "2 submissions look like Ann Lee's"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"points,grade\n1,2\n", "no column of names"),
        (b"name,id\nAnn,1\nBob,1\n", "two people have the id 1"),
        (b"\0\0\0", "no column of names"),
    ],
)
def test_what_is_no_roster_is_refused_in_a_sentence(data, said, tmp_path):
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        roster.read(tmp_path / "r.csv")
    with pytest.raises(ValueError, match="No such file"):
        roster.read(tmp_path / "nowhere.csv")


def test_only_means_students_by_any_of_their_names(tmp_path):
    people = (roster.Person("Ann Lee", "41", email="ann@uni.example"),)
    read = collect.collect(fill(tmp_path, {"leeann_41_9_a2.ipynb": book(), "bob_42_8_a2.ipynb": book()}), KEY, people)
    slug = next(one.slug for one in read.submissions if one.student == "leeann_41")
    for name in ("leeann_41", slug, "ann lee", "ANN@uni.example", "41"):
        assert grade.chosen(read, [name]) == {slug}
    assert len(grade.chosen(read, [])) == 2
    with pytest.raises(ValueError, match=r"no student 'leean_41' \(did you mean 'leeann_41'"):
        grade.chosen(read, ["leean_41"])


def test_look_says_who_was_found_and_grades_nothing(tmp_path, capsys):
    folder = fill(tmp_path / "x", LAYOUTS["Canvas"])
    main(["grade", str(folder), "--out", str(tmp_path / "out"), "--assignment", "a2", "--look"])
    said = capsys.readouterr().out
    assert "found 3 students of assignment a2 (named by: Canvas 3)" in said
    assert "cem_43: CANNOT BE GRADED, no notebook (.ipynb)" in said
    assert "leeann_41: late" in said
    assert not (tmp_path / "out").exists()


# --- odd files ----------------------------------------------------------------------------------------------


def quick(call, seconds=5.0):
    """What a call gives, in so many seconds of computing."""
    began = time.process_time()
    made = call()
    assert time.process_time() - began < seconds
    return made


def test_a_notebook_of_a_million_cells_is_refused_at_once_and_costs_little_memory():
    data = b'{"cells":[' + b",".join([b'{"cell_type":"code","source":""}'] * 700_000) + b"]}"
    tracemalloc.start()
    with pytest.raises(notebook.Unreadable, match="more than a million values"):
        quick(lambda: notebook.read(data))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    few = b'{"cells":[' + b",".join([b'{"cell_type":"code"}'] * 300_000) + b"]}"
    assert quick(lambda: notebook.read(few)).code == ()


@pytest.mark.parametrize(
    "text",
    ["\n" * 9_000_000, "%\n" * 4_000_000, "%%a\n \n" * 1_000_000, " \t" * 4_000_000 + "#", "# answer: " + "a." * 9_000],
)
def test_no_cell_holds_up_who_looks_for_its_mark(text):
    for cell_type in ("code", "markdown"):
        cell = {"cell_type": cell_type, "source": text}
        assert quick(lambda cell=cell: notebook.read(json.dumps({"cells": [cell]}).encode())).marks == []


ZALGO = "e" + "\u0301" * 20_000
TURNED = "\u202e" * 9_000 + "gpj.exe\u2066\u200b\ufeff\U000e0041"


@pytest.mark.parametrize("text", [ZALGO, TURNED, "\U0001f468\u200d" * 5_000, "\ufdfa" * 19_000, "\ud800" * 5_000])
def test_letters_that_grow_or_turn_stay_within_bounds(text):
    """U+FDFA alone becomes eighteen letters where names are compared."""
    cell = {"cell_type": "markdown", "source": f"<!-- answer: a2.logit -->\n{text}"}
    read = notebook.read(json.dumps({"cells": [cell]}).encode())
    shown = quick(lambda: words.html(read.written["a2.logit"]))
    assert len(shown) < 200_000
    str(shown).encode()
    assert quick(lambda: roster.match((roster.Person("Ann Lee"),), (text,))) is None
    assert len(collect.Submission(text, "", "", notebook.Notebook()).slug) < 60


def test_a_name_that_is_a_novel_is_cut_and_a_path_that_is_an_abyss_is_refused(tmp_path):
    made = {f"{'-1' * 30_000}.ipynb": book(), "x" * 60_000 + "/a.ipynb": book(), "deep/" * 10_000 + "a.ipynb": book()}
    read = quick(lambda: found(pack(tmp_path / "x.zip", made | {"ann.ipynb": book()})))
    assert max(map(len, read)) <= 255
    assert "more than 40 folders deep" in read["deep"].problem
    assert not read["ann"].problem
    alone = quick(lambda: found(pack(tmp_path / "y.zip", {"a/" * 10_000 + "b.ipynb": book()})))
    assert [one.problem for one in alone.values()] == ["the file lies more than 40 folders deep"]


def test_a_name_in_another_encoding_can_be_written_and_read_again(tmp_path):
    """As unpacking an archive of another system leaves it: marks for such a student must come back."""
    os.makedirs(os.fsencode(tmp_path) + b"/zo\xeb")
    with open(os.fsencode(tmp_path) + b"/zo\xeb/a2.ipynb", "wb") as file:
        file.write(book())
    (student,) = found(tmp_path)
    assert student == "zo\ufffd" and student.encode().decode() == student
    assert not found(tmp_path)[student].problem


@pytest.mark.parametrize("name", ["=1+1", "'=1+1", "''", "'Brien", "-x", "@x", "a\nb", 'a"b,c', "<b>x</b>", " x "])
def test_every_name_comes_back_from_a_table_as_it_was_and_nobody_becomes_somebody_else(name, tmp_path):
    text = tables.table([("student", "x"), (name, "1")])
    assert not any(line.startswith(("=", "-", "@", "+")) for line in text.splitlines())
    (tmp_path / "t.csv").write_bytes(text.encode())
    ((_, row),) = tables.filled(tmp_path / "t.csv", ["student"])
    assert tables.typed(row["student"]) == name


def test_a_file_that_goes_while_the_folder_is_read_costs_nobody_else(tmp_path, monkeypatch):
    fill(tmp_path, {"ann.ipynb": book(), "bob.ipynb": book()})
    walk = os.walk

    def walking(path):
        for folder, folders, names in walk(path):
            yield folder, folders, [*names, "gone.ipynb"]

    monkeypatch.setattr(os, "walk", walking)
    assert sorted(found(tmp_path)) == ["ann", "bob"]


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_followed(tmp_path, monkeypatch):
    fill(tmp_path / "class", {"ann.ipynb": book(), "bob.ipynb": book()})
    (tmp_path / "secret.ipynb").write_bytes(book(text="secret"))
    listing = type(files.opened(tmp_path)).files

    def listed(self):
        made = listing(self)
        (tmp_path / "class" / "ann.ipynb").unlink()
        (tmp_path / "class" / "ann.ipynb").symlink_to(tmp_path / "secret.ipynb")
        (tmp_path / "class" / "bob.ipynb").unlink()
        os.mkfifo(tmp_path / "class" / "bob.ipynb")
        return made

    monkeypatch.setattr(type(files.opened(tmp_path)), "files", listed)
    read = found(tmp_path / "class")
    assert "link" in read["ann"].problem and read["ann"].notebook.code == ()
    assert "no plain file" in read["bob"].problem


def test_figures_of_a_file_that_was_changed_after_it_was_read_are_not_shown(tmp_path):
    def with_text(text):
        cell = {"cell_type": "code", "source": "# answer: a2.saliency", "outputs": [{"text": text}]}
        return json.dumps({"cells": [cell]}).encode()

    fill(tmp_path, {"ann.ipynb": with_text("as it was graded")})
    one = found(tmp_path)["ann"]
    assert [output.content for output in one.shown().outputs] == ["as it was graded"]
    (tmp_path / "ann.ipynb").write_bytes(with_text("another one"))
    assert one.shown().outputs == ()


def test_an_archive_in_an_archive_is_no_notebook_and_is_not_opened(tmp_path):
    inner = pack(tmp_path / "inner.zip", {f"{i}.ipynb": b" " * 24_000_000 for i in range(40)}).read_bytes()
    inner = pack(tmp_path / "middle.zip", {f"{i}.zip": inner for i in range(40)}).read_bytes()
    read = quick(lambda: found(pack(tmp_path / "x.zip", {"ann/a.zip": inner, "bob/a.ipynb": book()})))
    assert "no notebook (.ipynb)" in read["ann"].problem
    assert not read["bob"].problem
