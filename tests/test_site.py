"""The rendered pages, in a browser: nothing comes from elsewhere, all is readable, aloud and on a phone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import yaml
from playwright.sync_api import sync_playwright

from tools import repository
from tools.repository import BOOK, ROOT

HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / BOOK / "_toc.yml").read_text())
CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [page["file"] for chapter in CHAPTERS for page in [chapter, *chapter.get("sections", [])]]
PAGES.insert(0, TOC["root"])
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install chromium to test the rendered pages")


@pytest.fixture(scope="module")
def browser():
    if not (HTML / "index.html").exists():
        subprocess.run([sys.executable, "-m", "tools.build_book"], cwd=ROOT, check=True)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def local(url):
    """The file that an address on this machine names."""
    return Path(unquote(urlparse(url).path))


def is_missing(url):
    # A browser refuses to preload a font that is there, when the page is opened as a file; it loads it later.
    return url.startswith("file:") and not local(url).exists()


@pytest.fixture(scope="module", params=PAGES)
def page(browser, request):
    """One page, opened as a file, with what it asked for and what went wrong noted on it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.name, page.outside, page.complaints = request.param, [], []
    page.on("request", lambda r: page.outside.append(r.url) if re.match(r"(http|ws)s?:", r.url) else None)
    page.on("requestfailed", lambda r: page.complaints.append(f"missing: {r.url}") if is_missing(r.url) else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.route(re.compile(r"^https?:"), lambda route: route.abort())
    page.goto((HTML / f"{request.param}.html").as_uri(), wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    page.wait_for_load_state("networkidle")
    yield page
    page.close()


@pytest.fixture
def self_contained(page):
    if not (HTML / "_static" / "mathjax").exists():
        pytest.skip("NOT SELF-CONTAINED: the book was built without npm, and its pages load MathJax from the network")
    return page


def test_a_page_asks_no_other_machine_for_anything(self_contained):
    assert self_contained.outside == []


def test_a_page_runs_without_errors(self_contained):
    # sphinx-thebe, which Jupyter Book always loads, declares this constant twice; no page uses it.
    assert [c for c in self_contained.complaints if "THEBE_JS_URL" not in c] == []


def test_formulas_are_rendered(self_contained):
    formulas = self_contained.locator(".math.notranslate")
    assert self_contained.locator(".math.notranslate mjx-container").count() >= formulas.count()
    # An unknown command is shown in red, by its name.
    assert self_contained.locator("mjx-merror, mjx-mtext[style*='red']").count() == 0
    left_over = self_contained.evaluate(
        """() => {
            const text = document.querySelector("article").cloneNode(true);
            text.querySelectorAll("pre, code, script, mjx-container").forEach(element => element.remove());
            return text.textContent.match(/\\\\[(\\[]|\\$/g);
        }"""
    )
    assert left_over is None


def test_widgets_are_drawn(self_contained):
    views = self_contained.locator("script[type='application/vnd.jupyter.widget-view+json']")
    drawn = "n => document.querySelectorAll('.widget-subarea > .jupyter-widgets').length == n"
    self_contained.wait_for_function(drawn, arg=views.count(), timeout=10_000)


def test_every_picture_is_described(page):
    pictures = page.evaluate("[...document.images].map(i => [i.getAttribute('alt') ?? '', i.getAttribute('src')])")
    assert not [src for alt, src in pictures if not alt.strip() or re.search(r"\.(png|jpe?g|svg)$", alt)]


def test_every_picture_is_loaded(page):
    page.evaluate("[...document.images].forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(i => i.complete)", timeout=10_000)
    assert page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)") == []


def test_links_inside_the_book_lead_somewhere(page):
    links = page.locator("a[href]").evaluate_all("links => links.map(a => a.href)")
    assert not [link for link in set(links) if is_missing(link)]


def test_the_colab_button_leads_to_this_notebook(page):
    notebook = ROOT / BOOK / f"{page.name}.ipynb"
    buttons = page.locator("a[href*='colab']").evaluate_all("links => links.map(a => a.href)")
    assert set(buttons) == ({repository.colab_link(notebook.name)} if notebook.exists() else set())


def test_nothing_sticks_out_of_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})
