"""Terms side by side, what a release holds, outside links, and workflows that call what exists."""

import http.server
import re
import subprocess
import threading
import zipfile
from urllib.parse import unquote, urljoin

import pytest
import yaml

from course_lib.grading.release import STUB
from project.repository import BRANCH, ROOT, URL, VERSION
from tools import links, publish

SPECIAL = 'part one/a & b? "50%" #ü.html'


def page(title, line_end="\n"):
    lines = ["<!DOCTYPE html>", f"<html><head><title>{title}</title></head>", "<body><main>", "<article class='b'>"]
    return line_end.join([*lines, f"<h1>{title}</h1>", "</article></main></body></html>", ""])


def write_book(folder, *names):
    """A made-up book: a start page, a page with a special name, the theme's files, and the named pages."""
    source = f'<a href="{URL}/blob/{BRANCH}/book/a.ipynb">source</a>'
    texts = {
        "index.html": page("start"),
        SPECIAL: page("special", line_end="\r\n"),
        "_static/theme.html": page("theme"),
    }
    texts |= {f"{name}.html": page(name).replace("</article>", f"{source}</article>") for name in names}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def snapshot(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def text_of(path):
    return path.read_bytes().decode()


def switch_of(path):
    """What a page's switch says, and {label: the file that it leads to}."""
    (nav,) = re.findall(r'<nav class="terms" aria-label="Terms">.*?</nav>', text_of(path)) or [""]
    addresses = re.findall(r'<a href="([^"]*)">([^<]*)</a>', nav)
    return re.sub(r"<[^>]*>", "", nav), {label: unquote(urljoin(path.as_uri(), a)) for a, label in addresses}


@pytest.fixture
def books(tmp_path):
    return {"old": write_book(tmp_path / "old", "dropped"), "new": write_book(tmp_path / "new", "added")}


@pytest.fixture
def site(books, tmp_path):
    """A term, and a course that went on: it dropped one page and has another."""
    folder = tmp_path / "site"
    publish.publish(books["old"], folder, "2025-autumn")
    publish.publish(books["old"], folder)
    publish.publish(books["new"], folder)
    return folder


# --- terms --------------------------------------------------------------------------------------------------


def test_a_page_leads_to_the_same_page_of_the_other_term(site):
    said, leads = switch_of(site / "2025-autumn" / SPECIAL)
    assert said == "This is 2025-autumn, kept as it was. Newer: current course."
    assert leads == {"current course": unquote((site / SPECIAL).as_uri())}
    said, leads = switch_of(site / SPECIAL)
    assert said == "This is the current course. Terms that are kept: 2025-autumn."
    assert leads == {"2025-autumn": unquote((site / "2025-autumn" / SPECIAL).as_uri())}


def test_a_page_that_the_other_term_lacks_leads_to_its_start(site):
    assert switch_of(site / "added.html")[1] == {"2025-autumn": (site / "2025-autumn/index.html").as_uri()}
    assert switch_of(site / "2025-autumn/dropped.html")[1] == {"current course": (site / "index.html").as_uri()}


def test_links_are_relative_and_nothing_is_loaded(site):
    for path in site.rglob("*.html"):
        for nav in re.findall(r'<nav class="terms".*?</nav>', text_of(path)):
            assert not re.search(r"https?:|src=|<script|href=\"/", nav)


def test_an_old_term_learns_of_a_newer_one(site, books):
    publish.publish(books["new"], site, "2026-spring")
    said, leads = switch_of(site / "2025-autumn/index.html")
    assert "Newer: current course, 2026-spring." in said
    assert leads["2026-spring"] == (site / "2026-spring/index.html").as_uri()
    assert switch_of(site / "2026-spring/index.html")[0].endswith("Older: 2025-autumn.")


def test_terms_are_in_the_order_of_the_year(tmp_path):
    names = ["2025-autumn", "2026-spring", "2026-fall", "2026-winter", "2026-summer", "2027-1"]
    for name in [*names, "_static", "2026", "notes"]:
        (tmp_path / name).mkdir()
    assert publish.terms(tmp_path) == [
        "2027-1",
        "2026-winter",
        "2026-fall",
        "2026-summer",
        "2026-spring",
        "2025-autumn",
    ]


@pytest.mark.parametrize("term", [publish.CURRENT, "2025-autumn"])
def test_twice_gives_the_same_bytes_as_once(site, books, term):
    book = books["old" if term else "new"]
    publish.publish(book, site, term)
    once = snapshot(site)
    publish.publish(book, site, term)
    assert snapshot(site) == once


def test_the_order_of_publishing_does_not_matter(site, books, tmp_path):
    publish.publish(books["old"], tmp_path / "other")
    publish.publish(books["new"], tmp_path / "other")
    publish.publish(books["old"], tmp_path / "other", "2025-autumn")
    assert snapshot(tmp_path / "other") == snapshot(site)


def test_only_the_switch_is_added_to_a_page(site, books):
    for name in ["index.html", SPECIAL, "added.html"]:
        assert publish.SWITCH.sub("", text_of(site / name)) == text_of(books["new"] / name)
    assert text_of(site / "_static/theme.html") == text_of(books["new"] / "_static/theme.html")


def test_a_site_of_one_term_has_no_switch(books, tmp_path):
    publish.publish(books["new"], tmp_path / "site")
    found = snapshot(tmp_path / "site")
    assert found.pop(publish.MARK) == b""
    assert found == snapshot(books["new"])


def test_a_redirection_stays_as_it_is(books, site):
    text = '<meta http-equiv="Refresh" content="0; url=added.html" />\n'
    (books["new"] / "index.html").write_text(text)
    publish.publish(books["new"], site)
    assert text_of(site / "index.html") == text


def test_a_dropped_page_leaves_a_way_on(site, books):
    text = text_of(site / "dropped.html")
    assert "no longer part of the course" in text and 'href="index.html"' in text
    assert switch_of(site / "dropped.html")[1] == {"2025-autumn": (site / "2025-autumn/dropped.html").as_uri()}
    publish.publish(books["old"], site)  # and it may come back
    assert "no longer" not in text_of(site / "dropped.html")
    assert switch_of(site / "2025-autumn/dropped.html")[1] == {"current course": (site / "dropped.html").as_uri()}


def test_a_term_keeps_its_links_to_the_repository(site):
    assert f"{URL}/blob/2025-autumn/book/a.ipynb" in text_of(site / "2025-autumn/dropped.html")
    assert f"{URL}/blob/{BRANCH}/book/a.ipynb" in text_of(site / "added.html")


def test_the_current_course_leaves_alone_what_is_not_its_own(site, books):
    before = snapshot(site / "2025-autumn")
    (site / "CNAME").write_text("course.example\n")
    (site / ".git").write_text("gitdir: elsewhere\n")
    (site / "left_over.css").touch()
    publish.publish(books["new"], site)
    assert (site / "CNAME").exists() and (site / ".git").exists() and not (site / "left_over.css").exists()
    assert snapshot(site / "2025-autumn") == before


@pytest.mark.parametrize(
    "name",
    ["..", "../2026-autumn", "2026-autumn/..", "/2026-autumn", ".git", "_static", "@jupyter-widgets", "_images", "2026"]
    + ["autumn", "2026-Autumn", "2026-autumn\n", "2026-", "2026 autumn", "2026-a&b", "added.html", "CNAME"],
)
def test_a_name_that_is_no_terms_is_refused(site, books, name):
    before = snapshot(site)
    with pytest.raises(ValueError, match="no term can be called"):
        publish.publish(books["new"], site, name)
    assert snapshot(site) == before


def test_a_book_with_a_folder_called_like_a_term_is_refused(site, books):
    (books["new"] / "2025-autumn").mkdir()
    with pytest.raises(ValueError, match="called like a term: 2025-autumn"):
        publish.publish(books["new"], site)


def test_a_folder_that_is_no_site_is_left_alone(books, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").touch()
    with pytest.raises(ValueError, match=r"holds chapter\.tex"):
        publish.publish(books["new"], tmp_path / "thesis")
    for folder in (tmp_path, books["new"], books["new"] / "site"):
        with pytest.raises(ValueError, match="lie within each other"):
            publish.publish(books["new"], folder)
    with pytest.raises(FileNotFoundError, match="make book"):
        publish.publish(tmp_path / "nothing", tmp_path / "site")


def test_the_command(books, tmp_path, capsys):
    site = str(tmp_path / "site")
    publish.main([site, "--book", str(books["old"]), "--term", "2025-autumn"])
    publish.main([site, "--book", str(books["new"])])
    assert "2025-autumn" in switch_of(tmp_path / "site/index.html")[1]
    for wrong in (["--term", ".."], ["--term", ""]):
        with pytest.raises(SystemExit, match="2"):
            publish.main([site, "--book", str(books["new"]), *wrong])
    assert "term" in capsys.readouterr().err


# --- releases -----------------------------------------------------------------------------------------------


def test_changes_are_those_of_one_version(tmp_path):
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 0.2.0 (2026)\n\nTwo.\n\n### Part\n\n* a\n\n## 0.1.0\n\nOne.\n")
    assert publish.changes("0.2.0", changelog) == "Two.\n\n### Part\n\n* a\n"
    assert publish.changes("0.1.0", changelog) == "One.\n"
    with pytest.raises(ValueError, match=r"no version 0\.3\.0; it has 0\.2\.0, 0\.1\.0"):
        publish.changes("0.3.0", changelog)


def test_a_release_holds_the_book_and_the_students_notebooks_without_solutions(books, tmp_path):
    files = publish.release(books["new"], tmp_path / "release", f"v{VERSION}")
    assert files[0].read_text() == publish.changes(VERSION)
    with zipfile.ZipFile(files[1]) as made:
        names = {name.split("/", maxsplit=1)[1]: made.read(name) for name in made.namelist()}
        assert names == snapshot(books["new"])
    with zipfile.ZipFile(files[2]) as made:
        assert made.namelist() == sorted(f"{path.name}.ipynb" for path in (ROOT / "assignments").glob("a*"))
        for name in made.namelist():
            text = made.read(name).decode()
            assert "SOLUTION" not in text
            assert STUB.replace('"', r"\"") in text


def test_a_zip_has_the_same_bytes_wherever_it_is_made(books, tmp_path):
    for name in ("one.zip", "two.zip"):
        publish.pack(tmp_path / name, {"a": books["new"] / "index.html", "b": books["new"] / "added.html"})
        (books["new"] / "index.html").touch()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize("tag", [VERSION, "v0.0.0", f"v{VERSION}rc1", ""])
def test_a_release_needs_the_tag_of_its_version(books, tmp_path, tag):
    with pytest.raises(ValueError, match=re.escape(f"version in pyproject.toml, which is {VERSION}")):
        publish.release(books["new"], tmp_path / "release", tag)
    assert not (tmp_path / "release").exists()


def test_a_release_is_refused_while_a_students_notebook_is_not_current(books, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(ValueError, match="not current"):
        publish.release(books["new"], tmp_path / "release", f"v{VERSION}")
    assert not (tmp_path / "release").exists()


def test_a_notebook_that_gives_answers_is_not_packed(tmp_path):
    with pytest.raises(ValueError, match="no assignments"):
        publish.student_notebooks(tmp_path)
    (tmp_path / "a1_x").mkdir()
    (tmp_path / "a1_x/solution.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"a1_x\.ipynb is missing"):
        publish.student_notebooks(tmp_path)
    (tmp_path / "a1_x/a1_x.ipynb").write_text('"# BEGIN SOLUTION"')
    with pytest.raises(ValueError, match="holds a solution"):
        publish.student_notebooks(tmp_path)


# --- outside links ------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_HEAD(self):
        self.server.asked.append((self.command, self.path))
        name = self.path.strip("/").split("/")[0]
        if name == "busy":  # well on the second day
            name = "503" if len(self.server.asked) <= 2 else "200"
        if name == "get-only":
            name = "405" if self.command == "HEAD" else "200"
        self.send_response(302 if name == "moved" else int(name))
        if name == "moved":
            self.send_header("Location", "/" + self.path.split("/", maxsplit=2)[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def refusing():
    """An address at which nobody listens."""
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
    return f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "path, answer, dead",
    [("200", 200, False), ("404", 404, True), ("410", 410, True), ("500", 500, True), ("403", 403, False)]
    + [("moved/200", 200, False), ("moved/404", 404, True), ("get-only", 200, False), ("busy", 200, False)]
    + [("200/ü", 200, False)],
)
def test_an_address_is_asked(server, path, answer, dead):
    assert links.ask(f"{server.address}/{path}", pause=0, timeout=5) == answer
    assert links.is_dead(answer) == dead
    assert len(server.asked) <= 6


def test_a_dead_address_is_not_asked_again_and_an_ill_one_is(server):
    links.ask(f"{server.address}/404", pause=0)
    assert server.asked == [("HEAD", "/404"), ("GET", "/404")]
    links.ask(f"{server.address}/500", pause=0)
    assert len(server.asked) == 2 + 6


def test_nobody_listens(refusing):
    answer = links.ask(refusing, pause=0, timeout=5)
    assert "refused" in str(answer) and links.is_dead(answer)
    assert links.is_dead(links.ask("http://[half", tries=1))


@pytest.fixture
def linked(tmp_path):
    def write(*addresses):
        anchors = "".join(f'<a href="{address}#part">x</a>' for address in addresses)
        (tmp_path / "a.html").write_text(f'{anchors}<a href="b.html">in</a><script>"http://no.example"</script>')
        (tmp_path / "b.html").write_text(f'<img src="{addresses[0]}"><a href="{links.FORMS}?title=b">form</a>')
        return ["--book", str(tmp_path)]

    return write


def test_addresses_are_listed_with_their_pages(linked, capsys):
    links.main(linked("https://b.example/?q=1&amp;r=2", "http://a.example/"))
    assert capsys.readouterr().out == "http://a.example/ a.html\nhttps://b.example/?q=1&r=2 a.html b.html\n"


def test_the_check_names_the_dead_and_fails(linked, server, refusing, capsys, monkeypatch):
    monkeypatch.setattr(links.time, "sleep", lambda seconds: None)
    there = [f"{server.address}/{path}" for path in ("404", "200", "403")]
    with pytest.raises(SystemExit, match="1"):
        links.main([*linked(*there, refusing), "--check"])
    said = capsys.readouterr().out.splitlines()
    assert f"dead 404 {there[0]} a.html b.html" in said
    assert f"unsure 403 {there[2]} a.html" in said
    assert [line for line in said if line.startswith("dead") and refusing in line]
    assert said[-1].startswith("4 addresses: 2 dead, 1 ")
    links.main([*linked(there[1]), "--check"])  # all alive: no exit


def test_no_book_no_links(tmp_path):
    with pytest.raises(FileNotFoundError, match="make book"):
        links.outside(tmp_path)


# --- workflows ----------------------------------------------------------------------------------------------

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
HELP = {"publish": publish.parser().format_help(), "links": links.parser().format_help()}


def commands(workflow):
    """The shell lines of a workflow, with those of the scripts that it calls."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    text = "\n".join(step["run"] for job in jobs for step in job["steps"] if "run" in step)
    scripts = [ROOT / name for name in re.findall(r"tools/\w+\.sh", text)]
    return "\n".join([text, *(path.read_text() for path in scripts if path.exists())])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
class TestWorkflow:
    def test_calls_only_what_exists(self, workflow):
        text = commands(workflow)
        assert set(re.findall(r"\bmake (\w+)", text)) <= TARGETS
        for module in re.findall(r"-m ((?:tools|course_lib|bench)[\w.]*)", text):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
        for script in re.findall(r"tools/\w+\.sh", text):
            assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be run"
        for tool, rest in re.findall(r"-m tools\.(publish|links)(.*)", text):
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in HELP[tool], f"tools.{tool} has no {option}"

    def test_may_write_only_where_a_job_says_so(self, workflow):
        assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}

    def test_uses_only_the_actions_of_the_platform_by_their_major_version(self, workflow):
        used = re.findall(r"uses:\s*(\S+)", workflow.read_text())
        assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)


def test_a_job_that_may_write_runs_no_code_but_the_tools():
    for workflow in WORKFLOWS:
        for name, job in yaml.safe_load(workflow.read_text())["jobs"].items():
            if "write" in job.get("permissions", {}).values():
                text = "\n".join(step.get("run", "") for step in job["steps"])
                assert not re.search(r"\bmake\b|course_lib\.", text), f"{workflow.name}: {name}"


@pytest.mark.skipif(not publish.BOOK.exists(), reason="the book is not built")
def test_a_book_that_is_only_built_has_no_switch():
    assert not [path.name for path in publish.BOOK.glob("*.html") if 'class="terms"' in path.read_text()]
