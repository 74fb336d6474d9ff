"""Marking in the browser, on this machine alone: written answers side by side, rubrics to click, keys to move.

A page that is a file cannot save, and the figures of a class do not fit into one; so this serves pages on the loopback
address, reads a notebook's figures when its answer is looked at, and saves each mark in written.csv, the file that
`grade` reads and a spreadsheet opens. Whoever has no token gets nothing, nor does another site's page: the address
holds the token, the host must be this one, and no page of here loads, frames or is framed by anything else.
"""

import base64
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import mean
from urllib.parse import parse_qs, urlencode, urlsplit

from course_lib.grading.collect import Found
from course_lib.grading.notebook import Notebook, Output, Shown
from course_lib.grading.question import Written
from course_lib.grading.report import cards, marks, pages
from course_lib.grading.report.cards import Answer, Card
from course_lib.grading.report.late import read_late
from course_lib.grading.report.marks import Mark
from course_lib.grading.report.write import report
from course_lib.grading.results import Result
from course_lib.grading.roster import Person
from course_lib.grading.run import Run, write

HOST = "127.0.0.1"
PAGE = 12  # answers on a page
BODY = 30_000  # bytes of a request
COMMENT = 5_000  # characters
FIELDS = 100  # of a form
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Refused(Exception):
    """A request that is not answered; the message is for whoever made it."""

    def __init__(self, status: int, said: str):
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """What goes back to the browser.

    Attributes:
        body: The content.
        media_type: Its type.
        location: Where to go instead, relative to the desk; "" for nowhere.
    """

    body: bytes
    media_type: str = "text/html; charset=utf-8"
    location: str = ""


@dataclass(frozen=True)
class Sheet:
    """An answer as the page shows it.

    Attributes:
        id: Names the student to the program and not to the reader.
        name: What stands above the answer.
        report: Address of the student's report; "" while names are hidden.
        answer: The words, and what was given for them.
        near: (number, output) of what the answer may speak of.
        more: The notebook's other outputs.
    """

    id: str
    name: str
    report: str
    answer: Answer
    near: Sequence[tuple[int, Output]]
    more: Sequence[tuple[int, Output]]


class Desk:
    """The written answers of a class, and what an instructor does with them."""

    def __init__(
        self,
        run: Run,
        found: Found,
        results: Mapping[str, Sequence[Result]],
        people: Sequence[Person] = (),
        stub: Notebook | None = None,
    ):
        """Take the answers of a run.

        Args:
            run: A run; its folder holds written.csv.
            found: Who handed in.
            results: For each slug, one result for each question that is graded by code.
            people: The roster.
            stub: What was handed out.
        """
        self.run, self.found, self.results, self.people, self.stub = run, found, results, people, stub
        self.nonce = secrets.token_urlsafe(16)
        self.said = ""
        self.shown = lru_cache(maxsize=PAGE)(self._shown)

    def cards(self) -> dict[str, Card]:
        """Everybody's work with the marks as they are now, by id."""
        written, changes, days = marks.read_written(self.run), marks.read_overrides(self.run), read_late(self.run)
        made = cards.deal(self.run, self.found, self.results, written, changes, self.stub, days)
        return {self.id(card.submission.slug): card for card in made}

    def id(self, slug: str) -> str:
        """A name that tells nobody who it is.

        Args:
            slug: A submission's slug.

        Returns:
            Twelve letters and digits, the same in every session on this run.
        """
        return hashlib.sha256(f"{self.run.seed} {slug}".encode()).hexdigest()[:12]

    def _shown(self, id: str) -> Shown:
        """What a notebook shows, of the last few; one that cannot be shown keeps no answer from being read."""
        try:
            return next(one for one in self.found.submissions if self.id(one.slug) == id).shown()
        except Exception:
            return Shown()

    # ------------------------------------------------------------ pages

    def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """Answer a request for a page or an image.

        Args:
            path: The address behind the token, "a2.logit" or "figure/0123456789ab/3".
            query: What stands behind the question mark.

        Returns:
            The reply.

        Raises:
            Refused: There is nothing at that address.
            ValueError: written.csv or overrides.csv cannot be read; names the line.
        """
        for question in self.run.assignment.written:
            if path == question.name:
                return self._question(question, query)
        first, _, rest = path.partition("/")
        if not path:
            return self._index()
        if first == "figure":
            return self._figure(*rest.partition("/")[::2])
        if first == "report" and (card := self.cards().get(rest)):
            return _html(pages.student_page(self.run, card))
        raise Refused(404, "there is nothing here")

    def _index(self) -> Reply:
        """The questions, and how far the reading is."""
        made = self.cards().values()
        rows = []
        for number, question in enumerate(self.run.assignment.written):
            answers = [card.written[number] for card in made if card.written[number].text]
            read = [one.mark.points for one in answers if one.mark.points is not None]
            rows.append(
                {
                    "name": question.name,
                    "count": len(answers),
                    "unread": len(answers) - len(read),
                    "mean": f"{mean(read):.1f} / {question.points:g}" if read else "",
                }
            )
        said, self.said = self.said, ""
        return _html(pages.PAGES.get_template("desk.html").render(assignment=self.run.assignment, rows=rows, said=said))

    def _question(self, question: Written, query: Mapping[str, str]) -> Reply:
        """Some of the answers to a question, side by side."""
        hidden, unread = query.get("names") == "hidden", query.get("show") == "unread"
        number = self.run.assignment.written.index(question)
        everybody = self.cards()
        ids = [id for id, card in everybody.items() if card.written[number].text]
        names = {id: everybody[id].submission.student for id in ids}
        if hidden:  # in an order that is nobody's
            ids.sort()
            names = {id: f"answer {i}" for i, id in enumerate(ids, start=1)}
        waiting = [id for id in ids if everybody[id].written[number].unread]
        listed = waiting if unread else ids
        at = min(_number(query.get("from", "0")), max(0, len(listed) - 1)) // PAGE * PAGE

        def address(**changed: str) -> str:
            asked = {
                "names": "hidden" if hidden else "",
                "show": "unread" if unread else "",
                "from": str(at),
                **changed,
            }
            kept = {key: value for key, value in asked.items() if value not in ("", "0")}
            return question.name + (f"?{urlencode(kept)}" if kept else "")

        sheets = [self._sheet(id, names[id], everybody[id].written[number], hidden) for id in listed[at : at + PAGE]]
        page = pages.PAGES.get_template("mark.html").render(
            question=question,
            count=len(ids),
            unread=len(waiting),
            sheets=sheets,
            here=address(),
            views=[
                ("all answers", address(show="", **{"from": "0"})),
                ("to be read", address(show="unread", **{"from": "0"})),
                ("with names", address(names="", **{"from": "0"})),
                ("without names", address(names="hidden", **{"from": "0"})),
            ],
            previous=address(**{"from": str(at - PAGE)}) if at else "",
            next=address(**{"from": str(at + PAGE)}) if at + PAGE < len(listed) else "",
            longest=COMMENT,
            nonce=self.nonce,
        )
        return _html(page)

    def _sheet(self, id: str, name: str, answer: Answer, hidden: bool) -> Sheet:
        """An answer with what it may speak of."""
        shown: Shown = self.shown(id)
        near, more = shown.around(answer.question.name)
        numbers = {one: number for number, one in enumerate(shown.outputs)}
        report = "" if hidden else f"report/{id}"
        return Sheet(id, name, report, answer, [(numbers[o], o) for o in near], [(numbers[o], o) for o in more])

    def _figure(self, id: str, number: str) -> Reply:
        """One of a notebook's images."""
        if id not in {self.id(one.slug) for one in self.found.submissions}:
            raise Refused(404, "there is nothing here")
        outputs, at = self.shown(id).outputs, _number(number)
        if at >= len(outputs) or outputs[at].media_type == "text/plain":
            raise Refused(404, "there is nothing here")
        return Reply(base64.b64decode(outputs[at].content), outputs[at].media_type)

    # ------------------------------------------------------------ marks

    def post(self, path: str, form: Mapping[str, Sequence[str]], script: bool) -> Reply:
        """Save a mark, or write the reports.

        Args:
            path: "mark" or "finish".
            form: What was sent: id, question, points, comment, item (any number of them), back.
            script: Does the page's own script ask? Else the browser is sent back to the page.

        Returns:
            The reply; a sentence for the script.

        Raises:
            Refused: Something in the form is not as the page sends it.
            ValueError: written.csv or overrides.csv cannot be read; names the line.
            OSError: The disk is full, for example.
        """
        if path == "finish":
            report(self.run, self.found, self.results, self.people, self.stub)
            self.said = f"Written: {self.run.out / 'index.html'}, {self.run.out / 'gradebook.csv'}"
            return Reply(b"", location="./")
        if path != "mark":
            raise Refused(404, "there is nothing here")
        said = self.mark(form)
        back = form.get("back", [""])[0]
        known = {question.name for question in self.run.assignment.written}
        if script or back.split("?")[0] not in known or not re.fullmatch(r"[\w.?&=]+", back, re.ASCII):
            return Reply(said.encode(), "text/plain; charset=utf-8")
        return Reply(b"", location=back)

    def mark(self, form: Mapping[str, Sequence[str]]) -> str:
        """Save one mark in written.csv, beside all others that stand there.

        Args:
            form: As for `post`.

        Returns:
            What was saved, in words.

        Raises:
            Refused: There is no such answer, or the points are out of range.
        """
        id, name, points, comment = (form.get(key, [""])[0] for key in ("id", "question", "points", "comment"))
        submission = next((one for one in self.found.submissions if self.id(one.slug) == id), None)
        asked = next((one for one in self.run.assignment.written if one.name == name), None)
        if submission is None or asked is None:
            raise Refused(404, "not saved: there is no such answer")
        try:
            given = float(points.replace(",", ".")) if points.strip() else None
        except ValueError:
            raise Refused(400, f"not saved: points are a number, got {points[:20]!r}") from None
        if given is not None and not 0 <= given <= asked.points:
            raise Refused(400, f"not saved: points go from 0 to {asked.points:g}")
        items = sorted({int(one) for one in form.get("item", []) if one.isdecimal() and len(one) < 3})
        mark = Mark(given, " ".join(comment.split())[:COMMENT], tuple(i for i in items if 0 < i <= len(asked.items)))
        saved = marks.read_written(self.run)
        saved[submission.student, name] = mark
        write(self.run.out / "written.csv", marks.written_table(self.run, self.found, saved))
        return "to be read" if given is None else f"saved: {given:g} of {asked.points:g}"


def _number(text: str) -> int:
    """A number in an address, 0 for anything else."""
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def _html(page: str) -> Reply:
    """A page as a reply."""
    return Reply(page.encode("utf-8", "replace"))


# ---------------------------------------------------------------- the server


class Server(ThreadingHTTPServer):
    """A desk on the loopback address."""

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0):
        """Listen.

        Args:
            desk: What is served.
            port: 0 takes a free one.
        """
        self.desk, self.token, self.lock = desk, secrets.token_urlsafe(24), threading.Lock()
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        """What the browser is told to open."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    """One connection: nothing but the desk's own pages, to nobody but whoever has the token."""

    server: Server
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request for a page or an image."""
        self._answer(lambda path, query: self.server.desk.get(path, {key: one[0] for key, one in query.items()}))

    def do_POST(self) -> None:
        """Save what the page sends."""
        self._answer(lambda path, form: self.server.desk.post(path, form, self._by_script()))

    def _answer(self, what: Callable[[str, dict[str, list[str]]], Reply]) -> None:
        """Check who asks, read what is sent, do it, one at a time, and send what came of it."""
        try:
            path, sent = self._checked()
            if self.command == "POST":
                sent = self._form()
            with self.server.lock:
                reply, status = what(path, sent), 200
        except Refused as error:
            reply, status = Reply(f"{error}".encode(), "text/plain; charset=utf-8"), error.status
        except (ValueError, OSError) as error:  # a table that a spreadsheet has spoilt, a full disk
            reply, status = Reply(f"not saved: {error}".encode(), "text/plain; charset=utf-8"), 500
        self.send_response(303 if reply.location else status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", POLICY.format(nonce=self.server.desk.nonce))
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.location:
            self.send_header("Location", reply.location)
        self.end_headers()
        self.wfile.write(reply.body)

    def _checked(self) -> tuple[str, dict[str, list[str]]]:
        """The address behind the token, and the query; Refused for everybody else."""
        own = {f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}"}
        if self.headers.get("Host") not in own:
            raise Refused(403, "this is another machine")
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        if site not in ("none", "same-origin") or (origin and origin not in {f"http://{host}" for host in own}):
            raise Refused(403, "another site's page asks")
        if not self.path.startswith("/"):
            raise Refused(403, "this is another machine")
        asked = urlsplit(self.path)
        _, _, rest = asked.path.partition("/")
        token, slash, path = rest.partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()) or not slash:
            raise Refused(403, "the address lacks its token: open the one that the program printed")
        return path, parse_qs(asked.query)

    def _form(self) -> dict[str, list[str]]:
        """What a page sends."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > BODY:
            raise Refused(413, "not saved: that is too long")
        sent = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            return parse_qs(sent, keep_blank_values=True, max_num_fields=FIELDS)
        except ValueError:
            raise Refused(413, f"not saved: a form has at most {FIELDS} fields") from None

    def _by_script(self) -> bool:
        """Does the page's script ask, and not the browser itself?"""
        return self.headers.get("Accept") == "text/plain"

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the address holds the token."""


def serve(desk: Desk, say: Callable[[str], object], port: int = 0) -> None:
    """Serve until Ctrl-C, and write the reports then.

    Args:
        desk: What is served.
        say: Is told the address.
        port: 0 takes a free one.

    Raises:
        OSError: The port is taken, or the disk is full.
        ValueError: A table of the run cannot be read; names the line.
    """
    desk.cards()  # what cannot be read is said here, and not in the browser
    with Server(desk, port) as server:
        say(f"open {server.address}  (Ctrl-C ends this, and writes reports and gradebook)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
    desk.post("finish", {}, False)
    say(desk.said)
