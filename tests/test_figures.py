"""Figures that one can touch, in a browser: large pictures and animations, by mouse, touch and keys."""

import re

import pytest
import torch

from course_lib import plotting
from project.repository import ROOT

pytestmark = pytest.mark.slow  # a browser
AXE = ROOT / "vendor" / "test" / "axe.min.js"
GRID = torch.tensor([[0, 1, 2, 3], [4, 5, -1, 6], [7, 8, 9, 10], [11, 12, 13, 14]])
NEAR = torch.stack([(torch.arange(15) + step) % 15 for step in (1, 2, 5)], 1)
TILES = plotting.Tiles(GRID, [f"tile {i}" for i in range(15)], also=[f"瓦 {i}" for i in range(15)], neighbours=NEAR)


def colours():
    """A tile for each number, in a grey that tells it."""
    return ((torch.arange(15) + 1) / 16)[:, None, None, None].expand(15, 3, 149, 149)


@pytest.fixture(scope="module")
def grid():
    image = plotting.mosaic(colours(), GRID)  # 601 x 601
    return plotting.Zoomable(image, "fifteen greys, from dark to light", tiles=TILES)._repr_html_()


@pytest.fixture
def opened(browser, html, tmp_path):
    """opened(figure, ...) is a page with that figure between two long texts, as the book would show it."""
    if not (html / "_static" / "zoom").exists():
        pytest.skip("NO OPENSEADRAGON: the book was built without npm, and large pictures only open at full size")
    pages = []

    def open_page(figure, scripts=("animation.js", "zoom.js"), **options):
        static = (html / "_static").as_uri()
        head = "".join(f'<script src="{static}/{script}"></script>' for script in scripts)
        (tmp_path / "page.html").write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>A figure</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>body{{--pst-color-text-base:#222;--pst-color-background:#fff}}</style>"
            f'<link rel="stylesheet" href="{static}/figures.css">{head}<main><h1>A figure</h1>'
            f'<div style="height:200px">before</div>{figure}<div style="height:2000px">after</div></main></html>'
        )
        page = browser.new_page(**{"viewport": {"width": 700, "height": 900}, "reduced_motion": "reduce"} | options)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda r: page.complaints.append(r.url) if re.match("https?:", r.url) else None)
        page.goto((tmp_path / "page.html").as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.complaints == []
        page.close()


@pytest.fixture
def viewer(opened, grid):
    page = opened(grid)
    page.wait_for_selector(".zoomable .tools")
    return page


SEEN = """([x, y]) => {
    const viewer = OpenSeadragon.getViewer(document.querySelector(".stage")), view = viewer.viewport;
    const { left, top } = viewer.canvas.getBoundingClientRect();
    const point = view.viewerElementToImageCoordinates(new OpenSeadragon.Point(x - left, y - top));
    return [view.getZoom() / view.getHomeZoom(), point.x, point.y];
}"""


def seen(page, x, y):
    """How far it is zoomed in, and which point of the image is at a point of the window."""
    page.wait_for_timeout(150)
    zoom, *point = page.evaluate(SEEN, [x, y])
    return zoom, torch.tensor(point)


def centre(page, row, column):
    """Where in the window a cell of the whole picture is."""
    box = page.locator(".stage").bounding_box()
    return box["x"] + (column + 0.5) / 4 * box["width"], box["y"] + (row + 0.5) / 4 * box["height"]


def test_the_wheel_zooms_at_the_pointer(viewer):
    x, y = centre(viewer, 2.2, 0.7)
    viewer.mouse.move(x, y)
    zoom, before = seen(viewer, x, y)
    assert zoom == pytest.approx(1)
    for _ in range(4):
        viewer.mouse.wheel(0, -120)
        viewer.wait_for_timeout(80)
    zoom, after = seen(viewer, x, y)
    assert zoom > 2 and torch.allclose(before, after, atol=2)
    assert viewer.evaluate("scrollY") == 0


def test_a_double_click_zooms_at_the_pointer(viewer):
    x, y = centre(viewer, 3, 3)
    _, before = seen(viewer, x, y)
    viewer.mouse.dblclick(x, y)
    zoom, after = seen(viewer, x, y)
    assert zoom > 1.5 and torch.allclose(before, after, atol=2)


def test_dragging_takes_the_picture_along(viewer):
    viewer.get_by_role("button", name="zoom in").click()
    viewer.get_by_role("button", name="zoom in").click()
    x, y = centre(viewer, 1.5, 1.5)
    zoom, before = seen(viewer, x, y)
    viewer.mouse.move(x, y)
    viewer.mouse.down()
    viewer.mouse.move(x + 40, y + 20, steps=5)
    viewer.wait_for_timeout(200)  # held still: no flick
    viewer.mouse.up()
    again, after = seen(viewer, x + 40, y + 20)
    assert again == zoom > 2 and torch.allclose(before, after, atol=2)


def test_the_wheel_still_scrolls_the_page(viewer):
    """Away over the picture, and through it if the turn began outside."""
    x, y = centre(viewer, 1, 1)
    viewer.mouse.move(x, y)
    viewer.mouse.wheel(0, 150)
    viewer.wait_for_timeout(400)
    assert viewer.evaluate("scrollY") == 150 and seen(viewer, x, y)[0] == pytest.approx(1)
    viewer.evaluate("scrollTo(0, 400)")
    bottom = viewer.locator(".stage").bounding_box()
    viewer.mouse.move(x, bottom["y"] + bottom["height"] + 250)
    for _ in range(3):
        viewer.mouse.wheel(0, -100)
        viewer.mouse.move(x, bottom["y"] + bottom["height"] / 2)
        viewer.wait_for_timeout(60)
    assert viewer.evaluate("scrollY") == 100 and seen(viewer, x, 300)[0] == pytest.approx(1)


def touch(page, *frames):
    """Fingers on the glass, [(x, y), ...] at each moment, then off it."""
    session = page.context.new_cdp_session(page)
    for kind, points in zip(["touchStart"] + ["touchMove"] * len(frames), [frames[0], *frames], strict=False):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(30)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)


def test_on_a_phone_two_fingers_zoom_and_one_moves_the_page_until_then(opened, grid):
    page = opened(grid, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.wait_for_selector(".zoomable .tools")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    x, y = centre(page, 1.5, 1.5)
    touch(page, *[[(x, y - 10 * step)] for step in range(12)])
    scrolled = page.evaluate("scrollY")
    assert scrolled > 50 and seen(page, x, y)[0] == pytest.approx(1)

    page.touchscreen.tap(*centre(page, 2, 3))
    page.wait_for_selector(".told:visible")
    assert told(page).startswith("tile 10 ") and page.evaluate("scrollY") == scrolled

    x, y = centre(page, 1.5, 1.5)
    _, before = seen(page, x, y)
    touch(page, *[[(x - 20 - 8 * step, y), (x + 20 + 8 * step, y)] for step in range(8)])
    zoom, after = seen(page, x, y)
    assert zoom > 2 and torch.allclose(before, after, atol=6)
    assert page.evaluate("scrollY") == scrolled

    touch(page, *[[(x, y - 5 * step)] for step in range(8)])
    again, moved = seen(page, x, y)
    assert again == pytest.approx(zoom) and moved[1] > after[1] + 5
    assert page.evaluate("scrollY") == scrolled
    assert told(page).startswith("tile 10 ")  # a drag is no tap
    page.touchscreen.tap(x + 60, y + 60)
    page.wait_for_timeout(200)
    assert not told(page).startswith("tile 10 ")


def told(page):
    return page.locator(".told .name").inner_text()


def neighbours(page):
    return [text.split("\n")[0] for text in page.locator(".beside button > span").all_inner_texts()]


@pytest.mark.parametrize(("cell", "number"), [((0, 0), 0), ((1, 3), 6), ((3, 3), 14)])
def test_a_tile_tells_its_name_and_shows_its_neighbours(viewer, cell, number):
    viewer.mouse.move(*centre(viewer, *cell))
    assert viewer.locator(".tip").inner_text() == f"tile {number} 瓦 {number}"
    assert not viewer.locator(".told").is_visible()
    viewer.mouse.click(*centre(viewer, *cell))
    viewer.wait_for_selector(".told:visible")
    assert told(viewer) == f"tile {number} 瓦 {number}"
    assert viewer.locator(".told .name [lang=zh]").inner_text() == f"瓦 {number}"
    expected = NEAR[number].tolist()
    assert [text.split(" 瓦")[0] for text in neighbours(viewer)] == [f"tile {i}" for i in expected]
    greys = "all => all.map(c => c.getContext('2d').getImageData(64, 64, 1, 1).data[0] / 255 * 16 - 1)"
    cut = viewer.locator(".beside canvas").evaluate_all(greys)
    assert torch.allclose(torch.tensor(cut), torch.tensor(expected).float(), atol=0.2)
    assert viewer.locator(".veil .near").count() == 3 and viewer.locator(".veil .chosen").count() == 1
    for mark, i in [(".chosen", number), *[(f".near >> nth={k}", i) for k, i in enumerate(reversed(expected))]]:
        ((row, column),) = (i == GRID).nonzero().tolist()
        box = viewer.locator(f".veil {mark}").bounding_box()
        assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx(
            centre(viewer, row, column), abs=2
        )

    viewer.locator(".beside button").nth(1).click()
    assert told(viewer) == f"tile {expected[1]} 瓦 {expected[1]}"


def test_a_cell_without_a_tile_tells_nothing(viewer):
    viewer.mouse.click(*centre(viewer, 0, 0))
    viewer.wait_for_selector(".told:visible")
    viewer.wait_for_timeout(500)
    viewer.mouse.click(*centre(viewer, 1, 2))
    viewer.wait_for_selector(".told", state="hidden")
    assert viewer.locator(".veil rect").count() == 0
    assert not viewer.locator(".tip").is_visible()


def test_all_of_it_by_keys(viewer):
    def zoom():
        return seen(viewer, 300, 500)[0]

    viewer.keyboard.press("Tab")
    assert viewer.evaluate("document.activeElement.getAttribute('aria-label')") == "fifteen greys, from dark to light"
    scrolled = viewer.evaluate("scrollY")
    viewer.keyboard.press("ArrowRight")
    assert told(viewer).startswith("tile 5 ") or told(viewer).startswith("tile 8 ")  # in the middle
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft"):  # stops at the border
        viewer.keyboard.press(key)
    assert told(viewer).startswith("tile 0 ")
    for key, number in (("ArrowDown", 4), ("ArrowRight", 5), ("ArrowRight", 6), ("ArrowDown", 10)):  # over the gap
        viewer.keyboard.press(key)
        assert told(viewer).startswith(f"tile {number} ")
    viewer.keyboard.press("+")
    assert zoom() == pytest.approx(1.5)
    viewer.keyboard.press("-")
    assert zoom() == pytest.approx(1)
    viewer.keyboard.press("Enter")
    viewer.keyboard.press("+")
    viewer.keyboard.press("+")
    viewer.keyboard.press("ArrowLeft")
    viewer.keyboard.press("ArrowLeft")  # the view goes along
    box, stage = (viewer.locator(name).bounding_box() for name in (".veil .chosen", ".stage"))
    assert stage["x"] <= box["x"] + box["width"] / 2 <= stage["x"] + stage["width"]
    viewer.keyboard.press("0")
    assert zoom() == pytest.approx(1)
    viewer.keyboard.press("Escape")
    assert not viewer.locator(".told").is_visible()
    assert viewer.evaluate("scrollY") == scrolled


def test_a_picture_without_tiles_is_moved_by_the_arrows(opened):
    page = opened(plotting.Zoomable(torch.rand(1, 3, 400, 600), "noise")._repr_html_())
    page.wait_for_selector(".zoomable .tools")
    page.locator(".openseadragon-canvas").focus()
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    zoom, point = seen(page, *centre(page, 1.5, 1.5))
    assert zoom == pytest.approx(2.25)
    assert point[0] > 310 and point[1] > 210
    assert "tile" not in page.locator(".help").inner_text()


@pytest.mark.parametrize("way", ["the button", "Escape"])
def test_the_full_page_and_back(viewer, way):
    before = viewer.locator(".stage").bounding_box()
    viewer.get_by_role("button", name="full page").click()
    viewer.wait_for_timeout(300)
    figure = viewer.locator(".zoomable-page .zoomable").bounding_box()
    assert figure["width"] > 660 and figure["y"] < 20
    viewer.keyboard.press("ArrowRight")
    assert viewer.locator(".told").is_visible()
    if way == "Escape":
        viewer.keyboard.press("Escape")  # first leaves the tile
        viewer.keyboard.press("Escape")
    else:
        viewer.get_by_role("button", name="full page").click()
    viewer.wait_for_selector("dialog", state="detached")
    viewer.wait_for_timeout(300)
    assert viewer.locator(".stage").bounding_box() == before
    assert viewer.evaluate("document.activeElement.className") == "openseadragon-canvas"


def test_the_file_is_beside_it(viewer):
    with viewer.expect_download() as download:
        viewer.locator(".help a").click()
    assert download.value.suggested_filename == "picture.webp"
    assert re.search(r"601 × 601 pixels, \d+ kB", viewer.locator(".help a").inner_text())


def test_axe_finds_no_barrier_in_a_figure(viewer):
    if not AXE.exists():
        pytest.skip("NO AXE: nothing looks for barriers")
    viewer.mouse.click(*centre(viewer, 0, 0))
    viewer.evaluate(AXE.read_text())
    found = viewer.evaluate(
        "async () => (await axe.run('figure', { preload: false })).violations.map(v => [v.id, v.nodes[0].html])"
    )
    assert found == []


def test_without_the_script_a_picture_opens_at_full_size_and_its_tiles_have_names(opened, grid):
    page = opened(grid, scripts=[], viewport={"width": 420, "height": 800})

    def width():
        return page.locator("figure img").bounding_box()["width"]

    assert width() < 420
    page.locator("figure input").check()
    assert width() == 601
    page.locator("figure input").uncheck()
    box = page.locator("figure img").bounding_box()
    title = "([x, y]) => document.elementFromPoint(x, y).title"
    assert page.evaluate(title, [box["x"] + box["width"] / 8, box["y"] + box["height"] * 3 / 8]) == "tile 4 瓦 4"


# ---------------------------------------------------------------- animations


@pytest.fixture(scope="module")
def film():
    """Eight frames, each in its own grey."""
    frames = (torch.arange(8) / 8)[:, None, None, None].expand(8, 3, 40, 60)
    return plotting.animation(frames, "grey that grows lighter", rate=20)._repr_html_()


FRAME = "Number(document.querySelector('figure input').value)"


def grey(page):
    return page.evaluate("document.querySelector('canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0]")


def test_an_animation_plays_and_stops_where_it_is(opened, film):
    page = opened(film, reduced_motion="no-preference")
    page.wait_for_selector("figure canvas")
    page.wait_for_function(f"{FRAME} > 1 && {FRAME} < 5", timeout=10_000, polling=10)
    page.get_by_role("button", name="pause").click()
    page.wait_for_timeout(200)
    stopped = page.evaluate(FRAME)
    page.wait_for_timeout(400)
    assert page.evaluate(FRAME) == stopped
    assert grey(page) == pytest.approx(stopped / 8 * 255, abs=4)
    page.get_by_role("button", name="play").click()
    page.wait_for_function(f"{FRAME} != {stopped}")


def test_the_slider_shows_any_frame(opened, film):
    page = opened(film)
    slider = page.get_by_role("slider", name="frame")
    assert slider.input_value() == "7"
    for key, number in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("End", 7)):
        slider.press(key)
        page.wait_for_timeout(150)
        assert grey(page) == pytest.approx(number / 8 * 255, abs=4)
        assert slider.get_attribute("aria-valuetext") == f"{number + 1} of 8"


def test_nothing_moves_for_those_who_ask_for_less_motion(opened, film):
    page = opened(film)
    page.wait_for_selector("figure canvas")
    page.wait_for_timeout(600)
    assert page.evaluate(FRAME) == 7 and page.get_by_role("button", name="play").count() == 1


@pytest.mark.parametrize(("motion", "name", "shown"), [("no-preference", "pause", "1"), ("reduce", "play", "0")])
def test_an_animation_is_paused_without_the_script(opened, film, motion, name, shown):
    page = opened(film, scripts=[], reduced_motion=motion)
    opacity = "getComputedStyle(document.querySelector('figure img')).opacity"
    assert page.evaluate(opacity) == shown
    page.get_by_role("checkbox", name=name).check()
    assert page.evaluate(opacity) != shown
    still = "getComputedStyle(document.querySelector('.screen')).backgroundSize"
    assert (page.evaluate(still) == "100% 100%") == (page.evaluate(opacity) == "0")


# ---------------------------------------------------------------- panels


@pytest.fixture(scope="module")
def chosen():
    """Six greys, by three values of one setting and two of another."""
    greys = (torch.arange(6).view(3, 2, 1, 1, 1) / 6).expand(3, 2, 3, 40, 60)
    settings = {"epsilon": ["0", "1", "2"], "image": ["cat", "cup"]}
    return plotting.panels(greys, settings, "a grey", start=["1", "cat"])._repr_html_()


SHOWN = """[...document.querySelectorAll('.panels img')]
    .filter(image => getComputedStyle(image).visibility === 'visible').map(image => image.alt)"""


@pytest.mark.parametrize("options", [{}, {"viewport": {"width": 390, "height": 844}, "has_touch": True}])
def test_the_reader_chooses_a_panel_without_a_script(opened, chosen, options):
    page = opened(chosen, scripts=[], **options)
    assert page.evaluate(SHOWN) == ["a grey; epsilon 1, image cat"]
    page.get_by_role("radio", name="cup").click()
    assert page.evaluate(SHOWN) == ["a grey; epsilon 1, image cup"]
    page.get_by_role("radio", name="1").press("ArrowRight")
    assert page.evaluate(SHOWN) == ["a grey; epsilon 2, image cup"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("group", name="epsilon").count() == 1


def test_two_panels_on_a_page_do_not_disturb_each_other(opened, chosen):
    other = plotting.panels(torch.rand(2, 3, 30, 30), {"epsilon": ["0", "1"]}, "noise")._repr_html_()
    page = opened(chosen + other, scripts=[])
    page.get_by_role("radio", name="1").last.click()
    assert page.evaluate(SHOWN) == ["a grey; epsilon 1, image cat", "noise; epsilon 1"]


def test_panels_are_open_to_all(opened, chosen):
    if not AXE.exists():
        pytest.skip("NO AXE: nothing looks for barriers")
    page = opened(chosen, scripts=[])
    page.evaluate(AXE.read_text())
    assert page.evaluate("axe.run('.panels', { preload: false }).then(found => found.violations.map(v => v.id))") == []
