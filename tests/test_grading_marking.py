"""Marking: a student's words are shown and run nothing, rubrics add up, marks are saved, and nobody else gets in."""

import csv
import dataclasses
import http.client
import io
import re
import socket
import threading
import time
import urllib.parse
from html.parser import HTMLParser

import pytest

from course_lib.grading import collect, notebook, question, results
from course_lib.grading import run as runs
from course_lib.grading.report import marks, pages, report
from course_lib.grading.report.excerpts import excerpts
from course_lib.grading.report.formulas import formula
from course_lib.grading.report.serve import Desk, Server
from course_lib.grading.report.words import FORMULAS, html
from project import submissions

KEY = "a2"
KEYS = [f"a{i}" for i in range(1, 6)]
ASKED = question.assignment(KEY)
LOGIT, WHICH, OWN = ASKED.written
DOT = submissions.image(3, 2)

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1)) [b](data:text/html,<script>alert(1)</script>) <javascript:alert(1)>",
    '![a" onerror="alert(1)](https://evil.example/x.png "t")',
    "[ref]: javascript:alert(1)\n\n[ref] ![ref]",
    '$"><script>alert(1)</script>$ and $$</code><img src=x onerror=alert(1)>$$',
    "$\\href{javascript:alert(1)}{x}$ $\\unicode{x}$ $\\text{<b onclick=alert(1)>}$",
    '```"><script>alert(1)</script>\ncode\n```',
    "<style>body{display:none}</style><base href=https://evil.example><meta http-equiv=refresh content=0>",
    "<form action=mark method=post><input name=points value=5></form>",
    "| <svg onload=alert(1)> | b |\n|---|---|\n| </table><script>alert(1)</script> | |",
    "&lt;script&gt;alert(1)&lt;/script&gt; <!-- --> <![CDATA[<script>alert(1)</script>]]>",
]


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


LINES = "p pre div ul ol li table thead tbody tr th td h1 h2 h3 h4 h5 h6 hr br blockquote"
OURS = {*LINES.split(), "strong", "em", "code", "span", "img"}


@pytest.mark.parametrize("text", HOSTILE)
def test_words_become_tags_of_ours_only_and_nothing_is_fetched(text):
    for tag, attributes in Tags(str(html(text))).found:
        assert tag in OURS
        assert set(attributes) <= {"class", "style", "alt", "src", "start"}
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
        assert "alert" not in attributes.get("style", "")


def test_words_keep_what_a_reader_needs():
    table = "| a | b |\n|--|--|\n| 1 | 2 |"
    text = f"**Why?** See [the table](https://example.org/t) and $p_y$.\n\n$$\n\\frac1m x_k\n$$\n\n{table}"
    made = str(html(text))
    assert "<strong>Why?</strong>" in made and "<td>1</td>" in made
    assert "the table <span" in made and "(https://example.org/t)" in made and "<a " not in made
    assert 'alt="p_y"' in made and '<div class="formula"><img' in made


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{\partial S_y}{\partial x_{cij}}",
        r"M = (x - b) \odot \frac1m \sum_{k=0}^{m-1} \nabla_x S_y\Bigl(b + \tfrac{k + 1/2}{m}\,(x - b)\Bigr)",
        r"\hat G = F F^{\mathsf T}, \quad x \le \lvert a \rvert",
        r"\operatorname*{softmax}(S) \implies \mathbb{R}",
    ],
)
def test_the_formulas_of_the_assignments_are_drawn(latex):
    assert "<img" in formula(latex)


@pytest.mark.parametrize(
    "latex",
    [
        r"\begin{cases} a \end{cases}",
        "{" * 300,
        "准确率",
        "",
        "\\",
        r"\hspace{99999999}a",
        "x" * 900,
        r"\Bigl(" * 80 + "a",
    ],
)
def test_what_cannot_be_drawn_is_shown_as_it_was_typed(latex):
    assert formula(latex) == f"<code>{latex}</code>"


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, "*a " * 6_600, "_a*" * 6_600, "> " * 10_000, "$a " * 6_600, "|a" * 5_000 + "\n" + "|-" * 5_000,
     "[a](" * 5_000, "`" * 20_000, "![a" * 6_600, "$x_{" * 5_000, "\n".join(f"$x_{{{i}}}$" for i in range(2_000))],
)  # fmt: skip
def test_no_text_holds_up_the_reader(text):
    began = time.process_time()
    made = html(text[: notebook.WORDS])
    assert time.process_time() - began < 3
    assert str(made).count("<img") <= FORMULAS


@pytest.mark.parametrize("written", [one for key in KEYS for one in question.assignment(key).written])
def test_each_rubric_has_items_that_add_up(written):
    assert len(written.items) > 1
    assert sum(item.points for item in written.items) == written.points
    assert all(item.says and "points:" not in item.says for item in written.items)


def test_a_rubric_of_another_form_is_one_item():
    for rubric in ("Any reason.", "1 point: a. 1 point: b.", "First, 2 points: a. 3 points: b."):
        assert [item.points for item in question.Written("a2.x", 5, rubric).items] == [5]


# --- the failing part of the code ---------------------------------------------------------------------------


def marked(cells, name, *said):
    """The lines of an answer that are marked, as (kind, text)."""
    asked = ASKED.question(name)
    parts = tuple(results.PartResult(p.name, 0.0, float(p.points), s) for p, s in zip(asked.parts, said, strict=False))
    made = excerpts(notebook.Notebook(tuple(cells)), ASKED, results.Result(name, "graded", parts))
    return [(line.lost, line.text) for lines in made for line in lines if line.lost]


def test_the_line_that_raised_is_marked():
    text = "# answer: a2.overlap\ndef overlap(heat, mask):\n    return 1 / 0"
    said = "ZeroDivisionError: division by zero (line 3 of the answer's cell)"
    assert marked([(text, "a2.overlap")], "a2.overlap", said) == [("here", "    return 1 / 0")]
    broken = "# answer: a2.overlap\ndef overlap(heat, mask:\n    return 1"
    said = "the answer defines no function 'overlap'; first of all, SyntaxError: '(' was never closed (answer, line 2)"
    assert marked([(broken, "a2.overlap")], "a2.overlap", said) == [("here", "def overlap(heat, mask:")]


def test_of_several_cells_the_one_that_raised_is_marked():
    cells = [
        ("def helper():\n    return 1 / 0", "a2.overlap"),
        ("def overlap(heat, mask):\n    return helper()", "a2.overlap"),
    ]
    said = "ZeroDivisionError: division by zero (line 2 of the answer's cell 1)"
    assert marked(cells, "a2.overlap", said) == [("here", "    return 1 / 0")]


def test_without_an_error_the_function_is_marked_and_its_neighbours_are_not():
    text = "x = 1\ndef overlap(heat, mask):\n    return x\n\nprint(x)"
    found = marked([(text, "a2.overlap")], "a2.overlap", "the sign is reversed")
    assert found == [("function", "def overlap(heat, mask):"), ("function", "    return x")]
    assert marked([("no python (", "a2.overlap")], "a2.overlap", "why") == []


def test_code_without_end_is_cut_and_lines_are_counted_as_python_does():
    text = "x = '\x0c \u2028'\ndef overlap(heat, mask):\n    return 1 / 0\n" + "#\n" * 5000
    asked = ASKED.question("a2.overlap")
    part = results.PartResult("p", 0.0, 1.0, "ZeroDivisionError: division by zero (line 3 of the answer's cell)")
    made = results.Result(asked.name, "graded", (part,))
    (lines,) = excerpts(notebook.Notebook(((text, asked.name),)), ASKED, made)
    assert [line.text for line in lines if line.lost] == ["    return 1 / 0"]
    assert len(lines) == 2001 and lines[-1].text.endswith("more lines]")


# --- the desk -----------------------------------------------------------------------------------------------


def class_of(folder, count):
    """A class whose answers name their students, with a figure and a printed number each."""
    for i in range(count):
        book = submissions.solution(KEY)
        for cell in book["cells"]:
            text = "".join(cell["source"])
            if text.startswith("overlaps") or "measure.interval(" in text:
                cell["outputs"] = [{"text": f"occlusion 0.5{i} (n = 40)"}, {"data": {"image/png": DOT}}]
            if text.startswith(f"<!-- answer: {LOGIT.name}"):
                cell["source"] = (
                    f"<!-- answer: {LOGIT.name} -->\nBecause of reason {i}: $p_{i}$ {HOSTILE[i % len(HOSTILE)]}"
                )
        (folder / f"student{i:02d}.ipynb").write_bytes(submissions.bytes_of(book))


@pytest.fixture
def desk(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    class_of(folder, 14)
    run = runs.open_run(out, KEY)
    found = collect.collect(folder, KEY)
    full = [
        results.Result(
            one.name, "graded", tuple(results.PartResult(p.name, float(p.points), float(p.points)) for p in one.parts)
        )
        for one in ASKED.questions
    ]
    return Desk(
        run,
        found,
        {one.slug: full for one in found.submissions},
        (),
        notebook.read(submissions.bytes_of(submissions.stub(KEY))),
    )


@pytest.fixture
def server(desk):
    with Server(desk) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server, path, form=None, token=None, **headers):
    """Status, headers and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    body = None if form is None else urllib.parse.urlencode(form, doseq=True)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if form is not None:
        sent |= {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("GET" if form is None else "POST", f"/{token or server.token}/{path}", body, sent)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), text


def saved(desk):
    return {
        (row["student"], row["question"]): row
        for row in csv.DictReader(io.StringIO((desk.run.out / "written.csv").read_text()))
    }


def test_answers_stand_side_by_side_with_what_they_speak_of(server, desk):
    status, headers, body = ask(server, LOGIT.name)
    page = body.decode()
    assert status == 200 and "no-store" in headers["Cache-Control"]
    assert page.count('<form class="sheet') == 12 and f"{LOGIT.name}?from=12" in page
    assert "Because of reason 3" in page and "occlusion 0.53 (n = 40)" in page
    assert "<script>alert" not in page and "onerror=alert" not in page.replace("onerror=alert(1)&gt;", "")
    figure = next(value["src"] for tag, value in Tags(page).found if tag == "img" and "figure/" in value["src"])
    status, headers, body = ask(server, figure)
    assert (status, headers["Content-Type"], body[:4]) == (200, "image/png", b"\x89PNG")
    assert "script-src 'nonce-" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"


def test_without_names_nobody_can_be_told(server):
    page = ask(server, f"{LOGIT.name}?names=hidden")[2].decode()
    assert not re.search(r"student\d", page) and "report/" not in page
    assert "answer 1<" in page
    assert "student03" in ask(server, LOGIT.name)[2].decode()


def test_without_names_the_order_tells_nobody_either(server):
    _, _, page = ask(server, f"{LOGIT.name}?names=hidden")
    _, _, rest = ask(server, f"{LOGIT.name}?names=hidden&from=12")
    numbers = [int(one) for one in re.findall(rb"Because of reason (\d+)", page + rest)]
    assert sorted(numbers) == list(range(14))
    assert numbers != sorted(numbers)


def test_marks_of_a_student_whose_file_is_gone_stay(desk):
    runs.write(desk.run.out / "written.csv", f"student,question,points,comment\ngone,{LOGIT.name},3,fine\n")
    report(desk.run, desk.found, desk.results)
    assert (saved(desk)["gone", LOGIT.name]["points"], saved(desk)["gone", LOGIT.name]["comment"]) == ("3", "fine")


def test_a_mark_is_saved_with_its_items_and_comes_into_the_report(server, desk):
    id = desk.id(next(one for one in desk.found.submissions if one.student == "student03").slug)
    form = {"id": id, "question": LOGIT.name, "item": ["1", "3"], "points": "3", "comment": "=names\nno number"}
    status, _, body = ask(server, "mark", form, Accept="text/plain")
    assert (status, body) == (200, b"saved: 3 of 5")
    row = saved(desk)["student03", LOGIT.name]
    assert (row["points"], row["comment"], row["items"]) == ("3", "'=names no number", "1 3")
    assert "1 of" not in ask(server, "")[2].decode()
    assert ask(server, "finish", {})[0] == 303
    (page,) = (desk.run.out / "reports").glob("student03*")
    text = page.read_text()
    assert "<strong>3</strong> of 5 points for written answers." in text
    assert (
        f"{LOGIT.items[2].points:g}: {LOGIT.items[2].says}" in text.replace("&#39;", "'") and "=names no number" in text
    )
    assert f"Written answers worth {WHICH.points + OWN.points:g} points are still to be read." in text
    assert ask(server, "mark", {**form, "points": "", "item": []}, Accept="text/plain")[2] == b"to be read"


def test_what_a_spreadsheet_wrote_meanwhile_stays(server, desk):
    table = marks.written_table(desk.run, desk.found, {("student01", WHICH.name): marks.Mark(4.0, "typed")})
    (desk.run.out / "written.csv").write_text(table)
    id = desk.id(desk.found.submissions[0].slug)
    status, _, body = ask(server, "mark", {"id": id, "question": LOGIT.name, "points": "5"}, Accept="text/plain")
    assert (status, body) == (200, b"saved: 5 of 5")
    row = saved(desk)["student01", WHICH.name]
    assert (row["points"], row["comment"]) == ("4", "typed")
    (desk.run.out / "written.csv").write_text("student,question,points,comment\nstudent01,a2.logit,99,\n")
    status, _, body = ask(server, "mark", {"id": id, "question": LOGIT.name, "points": "5"}, Accept="text/plain")
    assert status == 500 and b"line 2" in body
    assert "99" in (desk.run.out / "written.csv").read_text()  # nothing is overwritten


@pytest.mark.parametrize(
    ("change", "status"),
    [({"points": "6"}, 400), ({"points": "nan"}, 400), ({"points": "-1"}, 400), ({"points": "many"}, 400),
     ({"id": "0" * 12}, 404), ({"question": "a2.saliency"}, 404), ({"comment": "x" * 40_000}, 413)],
)  # fmt: skip
def test_a_mark_that_cannot_be_is_refused(server, desk, change, status):
    form = {"id": desk.id(desk.found.submissions[0].slug), "question": LOGIT.name, "points": "1", **change}
    assert ask(server, "mark", form, Accept="text/plain")[0] == status
    assert not (desk.run.out / "written.csv").exists()


@pytest.mark.parametrize(
    "attack",
    [
        {"token": "x" * 32},
        {"token": "é".encode().decode("latin-1")},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_nobody_else_gets_in(server, desk, attack):
    token = attack.pop("token", None)
    token = urllib.parse.quote(token) if token else None
    form = {"id": desk.id(desk.found.submissions[0].slug), "question": LOGIT.name, "points": "5"}
    for body in (None, form):
        status, _, text = ask(server, "mark" if body else LOGIT.name, body, token, **attack)
        assert status == 403 and b"student" not in text
    assert not (desk.run.out / "written.csv").exists()


@pytest.mark.parametrize(
    "path", ["../run.json", "figure/x/0", "figure", "figure//", "report/x", "written.csv", "a2.saliency"]
)
def test_there_is_nothing_at_other_addresses(server, path):
    assert ask(server, path)[0] == 404


def test_a_notebook_that_cannot_be_shown_keeps_no_answer_from_being_read(server, desk, monkeypatch):
    monkeypatch.setattr(collect.Submission, "shown", lambda self: 1 / 0)
    status, _, body = ask(server, LOGIT.name)
    assert status == 200 and b"Because of reason 3" in body


def raw(server, request):
    """The status line that comes back for these bytes, and all that follows it."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as line:
        line.sendall(request.replace(b"TOKEN", server.token.encode()).replace(b"PORT", b"%d" % server.server_port))
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode("latin-1"), body


WAYS_OUT = ["../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "....//etc/passwd",
            "report/../../run.json", "report/..%2frun.json", "figure/../../run.json/0", "/etc/passwd", "%00/etc/passwd",
            "a2.logit/../../run.json", "file:///etc/passwd", "figure/0/9999999999", "figure/\u0663/0"]  # fmt: skip


@pytest.mark.parametrize("path", WAYS_OUT)
def test_no_address_leads_to_a_file(server, path):
    head, body = raw(server, f"GET /TOKEN/{path} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n".encode())
    assert " 404 " in head.splitlines()[0] or " 400 " in head.splitlines()[0], head
    assert b"root:" not in body and b"seed" not in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://evil.example/TOKEN/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "403"),
        (b"GET //evil.example/TOKEN/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "403"),
        (b"GET /TOKEN/ HTTP/1.1\r\n\r\n", "403"),
        (b"GET /TOKEN HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "403"),
        (b"PUT /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "501"),
        (b"DELETE /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "501"),
        (b"GET /TOKEN/mark?id=x&points=5 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "404"),
        (b"POST /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n", "413"),
        (b"POST /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: -1\r\n\r\n", "413"),
        (b"POST /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 99999999999\r\n\r\n", "413"),
        (b"POST /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", "413"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", "414"),
        (b"GET /TOKEN/ HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", "431"),
    ],
)
def test_odd_requests_are_refused(server, desk, request_, status):
    head, body = raw(server, request_)
    assert f" {status} " in head.splitlines()[0]
    assert b"student0" not in body and not (desk.run.out / "written.csv").exists()


def test_a_form_of_many_fields_is_refused(server, desk):
    form = {f"x{i}": "1" for i in range(200)}
    status, _, body = ask(server, "mark", form, Accept="text/plain")
    assert (status, body) == (413, b"not saved: a form has at most 100 fields")


@pytest.mark.parametrize("more", ["\r\nSet-Cookie: a=b", "\nX: y", "://evil.example", "#<script>", "é", "\ud800"])
def test_the_way_back_leads_nowhere_else(server, desk, more):
    form = {"id": desk.id(desk.found.submissions[0].slug), "question": LOGIT.name, "points": "1"}
    back = urllib.parse.quote(f"{LOGIT.name}?{more}", errors="surrogatepass")
    body = f"{urllib.parse.urlencode(form)}&back={back}".encode()
    head, said = raw(
        server, b"POST /TOKEN/mark HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert " 200 " in head.splitlines()[0] and said == b"saved: 1 of 5"
    assert "Location" not in head and "Cookie" not in head and "X: y" not in head


def test_who_sends_slowly_keeps_nobody_waiting(server):
    """A form that never ends holds one connection, and not the desk."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as slow:
        head = f"POST /{server.token}/mark HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: 20000"
        slow.sendall(f"{head}\r\n\r\nid=".encode())
        time.sleep(0.3)
        began = time.monotonic()
        assert ask(server, "")[0] == 200
        assert time.monotonic() - began < 15  # the line ends after 30 seconds of silence


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_reader_marks_by_keys_and_clicks_and_no_notebook_runs_a_script(server, desk, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    trouble, asked = [], []
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{server.server_port}/{server.token}/{LOGIT.name}")
    page.keyboard.press("j")
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("j")
    page.keyboard.press("f")
    page.wait_for_selector(".sheet.read >> nth=1")
    page.keyboard.press("c")
    page.keyboard.type("j is a letter here")
    page.keyboard.press("Escape")
    page.locator(".sheet").nth(2).locator("label.item").nth(1).click()
    page.wait_for_selector(".sheet.read >> nth=2")
    page.wait_for_timeout(300)
    rows = saved(desk)
    first, second, third = (rows[f"student{i:02d}", LOGIT.name] for i in range(3))
    assert (first["points"], first["items"]) == ("3", "1 3")
    assert (second["points"], second["items"], second["comment"]) == ("5", "1 2 3", "j is a letter here")
    assert (third["points"], third["items"]) == ("2", "2")
    page.keyboard.press("n")
    page.wait_for_url("**?from=12")
    for one in desk.found.submissions:  # the reports, too
        page.goto(f"http://127.0.0.1:{server.server_port}/{server.token}/report/{desk.id(one.slug)}")
    assert not trouble
    own = f"http://127.0.0.1:{server.server_port}/"
    assert all(url.startswith((own, "data:image/svg+xml", "data:image/png")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{own}{server.token}/{LOGIT.name}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_no_word_of_a_student_makes_a_page_wider_than_the_screen(desk, browser):
    """One student's text without a space: the others' answers would stand a thousand screens to the right."""
    first = desk.found.submissions[0]
    words = {LOGIT.name: "x" * 20_000, "a2.own": f"| a | {'y' * 900} |\n|---|---|\n| 1 | 2 |"}
    book = dataclasses.replace(first.notebook, written=words)
    renamed = dataclasses.replace(first, notebook=book, student="a" * 250, note="w" * 300)
    lost = results.PartResult("one image", 0.0, 6.0, "ValueError: " + "v" * 590)
    found = dataclasses.replace(desk.found, submissions=(renamed, *desk.found.submissions[1:]))
    graded = {**desk.results, renamed.slug: [results.Result("a2.saliency", "graded", (lost,))]}
    strange = Desk(desk.run, found, graded, (), desk.stub)
    (card,) = [card for card in strange.cards().values() if card.submission is renamed]
    made = {
        "mark": strange.get(LOGIT.name, {}).body.decode(),
        "own": strange.get("a2.own", {}).body.decode(),
        "desk": strange.get("", {}).body.decode(),
        "written": pages.written_page(desk.run, list(strange.cards().values())),
        "student": pages.student_page(desk.run, card),
        "index": pages.index(desk.run, list(strange.cards().values()), found, ()),
    }
    page = browser.new_page()
    for name, text in made.items():
        for width in (1400, 390):
            page.set_viewport_size({"width": width, "height": 800})
            page.set_content(text)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            if name in ("desk", "student"):  # read on a phone: nothing hides beside the screen
                cut = (
                    "[...document.querySelectorAll('table:not(.said *)')].some(t => t.scrollWidth > t.clientWidth + 1)"
                )
                assert not page.evaluate(cut), (name, width)
    page.close()


def test_a_report_that_is_there_is_not_made_again(desk, monkeypatch):
    report(desk.run, desk.found, desk.results, (), desk.stub)
    made = []
    original = pages.student_page
    monkeypatch.setattr(
        pages, "student_page", lambda run, card: made.append(card.submission.student) or original(run, card)
    )
    report(desk.run, desk.found, desk.results, (), desk.stub)
    assert made == []
    written = marks.read_written(desk.run)
    written["student05", LOGIT.name] = marks.Mark(2.0)
    (desk.run.out / "written.csv").write_text(marks.written_table(desk.run, desk.found, written))
    report(desk.run, desk.found, desk.results, (), desk.stub)
    assert made == ["student05"]


def test_a_table_without_items_is_read(desk):
    (desk.run.out / "written.csv").write_text("student,question,points,comment\nstudent01,a2.logit,4,well\n")
    assert marks.read_written(desk.run) == {("student01", "a2.logit"): marks.Mark(4.0, "well")}
    (desk.run.out / "written.csv").write_text("student,question,points,comment,items\nstudent01,a2.logit,4,well,x\n")
    with pytest.raises(ValueError, match="line 2: items are numbers"):
        marks.read_written(desk.run)
