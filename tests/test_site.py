"""The rendered pages, in a browser: nothing comes from elsewhere, all is readable, aloud, by keys, on a phone."""

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import yaml

from project import repository
from project.repository import BOOK, ROOT

pytestmark = pytest.mark.slow  # a browser opens every page
AXE = ROOT / "vendor" / "test" / "axe.min.js"
TOC = yaml.safe_load((ROOT / BOOK / "_toc.yml").read_text())
CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [page["file"] for chapter in CHAPTERS for page in [chapter, *chapter.get("sections", [])] if "file" in page]
PAGES = [
    TOC["root"],
    *PAGES,
    "reference/attribution",
    "reference/images",
]  # functions, classes


def local(url):
    """The file that an address on this machine names."""
    return Path(unquote(urlparse(url).path))


def is_missing(url):
    # A browser refuses to preload a font that is there, when the page is opened as a file; it loads it later.
    return url.startswith("file:") and not local(url).exists()


@pytest.fixture(scope="module", params=PAGES)
def page(browser, html, request):
    """One page, opened as a file, with what it asked for and what went wrong noted on it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.name, page.outside, page.complaints = request.param, [], []
    page.on("request", lambda r: page.outside.append(r.url) if re.match(r"(http|ws)s?:", r.url) else None)
    page.on("requestfailed", lambda r: page.complaints.append(f"missing: {r.url}") if is_missing(r.url) else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.route(re.compile(r"^https?:"), lambda route: route.abort())
    page.goto((html / f"{request.param}.html").as_uri(), wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    page.wait_for_load_state("networkidle")
    yield page
    page.close()


@pytest.fixture
def self_contained(page, html):
    if not (html / "_static" / "mathjax").exists():
        pytest.skip("NOT SELF-CONTAINED: the book was built without npm, and its pages load MathJax from the network")
    return page


def test_a_page_asks_no_other_machine_for_anything(self_contained):
    assert self_contained.outside == []


def test_a_page_runs_without_errors(self_contained):
    assert self_contained.complaints == []


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


def wait_for_widgets(page):
    views = page.locator("script[type='application/vnd.jupyter.widget-view+json']")
    drawn = "n => document.querySelectorAll('.widget-subarea > .jupyter-widgets').length == n"
    page.wait_for_function(drawn, arg=views.count(), timeout=10_000)


def test_widgets_are_drawn(self_contained):
    wait_for_widgets(self_contained)


@pytest.fixture
def complete(self_contained):
    """A page with its widgets drawn and, on the live page, the network at work."""
    wait_for_widgets(self_contained)
    if self_contained.locator("#live").count():
        self_contained.wait_for_selector(".live-ready", timeout=60_000)
    return self_contained


BARRIERS = """async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return grave.flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.html}`));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(complete, scheme):
    if not AXE.exists():
        pytest.skip("NO AXE: the book was built without npm, and nothing looks for barriers")
    complete.emulate_media(color_scheme=scheme)
    complete.wait_for_function("scheme => document.documentElement.dataset.theme == scheme", arg=scheme)
    complete.evaluate(AXE.read_text())
    found = complete.evaluate(BARRIERS)
    complete.emulate_media(color_scheme="light")
    assert found == []


def test_headings_go_down_step_by_step(complete):
    headings = "[...document.querySelectorAll('main :is(h1, h2, h3, h4, h5, h6)')].filter(h => h.checkVisibility())"
    levels = complete.evaluate(f"{headings}.map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(levels, levels[1:], strict=False))


FOCUSED = """() => {
    const marked = element => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
        return (outlineStyle != "none" && parseFloat(outlineWidth) > 0) || boxShadow != "none";
    };
    const element = document.activeElement;
    return [element.outerHTML.slice(0, 90), element.checkVisibility() && [element, ...element.children].some(marked)];
}"""


def test_the_tab_key_starts_at_the_skip_link_and_shows_where_it_is(page):
    stops = []
    for _ in range(20):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))
    assert "#main-content" in stops[0][0]
    assert [element for element, seen in stops if not seen] == []


def test_every_image_is_described(page):
    images = page.evaluate("[...document.images].map(i => [i.getAttribute('alt') ?? '', i.getAttribute('src')])")
    assert not [src for alt, src in images if not alt.strip() or re.search(r"\.(png|jpe?g|svg)$", alt)]


def test_every_image_is_loaded(page):
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


@pytest.fixture
def phone(page):
    """A page on a narrow screen, with all that is folded away opened."""
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('article details').forEach(d => d.open = true)")
    page.wait_for_timeout(200)
    yield page
    page.set_viewport_size({"width": 1280, "height": 900})


def test_nothing_sticks_out_of_a_phone(phone):
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_table_of_results_fits_a_phone(phone):
    wide = "[...document.querySelectorAll('table.results')].filter(e => e.offsetWidth > e.parentElement.clientWidth)"
    assert phone.evaluate(f"{wide}.map(e => e.innerText.slice(0, 60))") == []


def test_a_formula_goes_on_in_the_next_line_of_a_phone(self_contained, browser):
    """No formula is wider than the screen, and none is chopped: what has several lines fills half of one."""
    page = browser.new_page(viewport={"width": 360, "height": 740}, reduced_motion="reduce")
    page.goto(self_contained.url.split("#")[0], wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    formulas = page.evaluate(
        """() => [...document.querySelectorAll("div.math mjx-container")].map(e => {
            const lines = [...e.querySelectorAll("mjx-linebox")].map(line => line.getBoundingClientRect().width);
            const full = e.scrollWidth <= e.clientWidth + 2;
            return [full && (lines.length < 2 || Math.max(...lines) > e.clientWidth / 2), e.textContent.slice(0, 60)];
        })"""
    )
    page.close()
    assert [text for fits, text in formulas if not fits] == []


@pytest.mark.parametrize("width", [1280, 1400, 1920])
def test_what_is_wide_stays_beside_the_contents(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    beyond = page.evaluate(
        """() => {
            const contents = document.querySelector(".bd-sidebar-secondary")?.getBoundingClientRect();
            const wide = [...document.querySelectorAll("article :is(.wide, .tag_wide, .gallery, img)")];
            return wide.filter(box => box.getBoundingClientRect().right > (contents?.left ?? innerWidth) + 1).length;
        }"""
    )
    page.set_viewport_size({"width": 1280, "height": 900})
    assert beyond == 0


def test_every_room_of_the_reference_fits_a_phone(browser, html):
    page = browser.new_page(viewport={"width": 360, "height": 740})
    wide = {}
    for room in sorted((html / "reference").glob("*.html")):
        page.goto(room.as_uri())
        wide[room.stem] = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert wide and {room: width for room, width in wide.items() if width > 360} == {}


def test_names_in_the_code_of_a_chapter_lead_to_the_reference(browser, html):
    page = browser.new_page()
    page.goto((html / "05_which_pixels_matter.html").as_uri())
    page.locator(".cell_input a:visible", has_text="attribution.saliency").first.click()
    assert page.url == (html / "reference/attribution.html").as_uri() + "#course_lib.attribution.saliency"
    assert page.locator(":target").inner_text().startswith("saliency(")
    page.close()


def test_what_scrolls_on_a_phone_can_be_reached_by_keys(phone):
    scrolls = "e.scrollWidth > e.clientWidth && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
    unreached = f"[...document.querySelectorAll('article *')].filter(e => {scrolls} && e.tabIndex < 0)"
    assert phone.evaluate(f"{unreached}.map(e => e.outerHTML.slice(0, 90))") == []


def test_paper_shows_the_text_alone(page):
    page.emulate_media(media="print")
    beside = page.locator(".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer")
    left_over = [part.get_attribute("class") for part in beside.all() if part.is_visible()]
    main = page.locator("main").bounding_box()
    page.emulate_media(media="screen")
    assert left_over == []
    assert (main["x"], main["width"]) == (0, 1280)


def test_a_chapter_is_printed_dark_on_white(browser, html):
    page = browser.new_page(color_scheme="dark")
    page.goto((html / "04_activations.html").as_uri())
    page.evaluate("addEventListener('beforeprint', () => { printed = document.documentElement.dataset.theme; })")
    sheets = re.findall(rb"/Type /Page\b", page.pdf())
    after = page.evaluate("document.documentElement.dataset.theme")
    assert (page.evaluate("printed"), after) == ("light", "dark")
    assert len(sheets) > 5
    page.close()


@pytest.mark.parametrize("opened", ["from a server", "as a file"])
def test_search_finds_a_chapter_by_a_word_in_it(browser, html, server, opened):
    start = server if opened == "from a server" else html.as_uri()
    page = browser.new_page()
    page.goto(f"{start}/search.html?q=occlusion")
    page.wait_for_selector("ul.search a[href*='05_which_pixels_matter.html']", timeout=10_000)
    page.close()
