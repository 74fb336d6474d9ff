"""Draws pictures that pages show as files: python -m tools.cover [hero | cards | social | map | detail ...], or all.

The cards, and what networks painted, are images that the notebooks have stored: run it again where a chapter's figures
have changed. If a figure has moved, or has other tiles now, its row in CARDS or PAINTED says which one to take. The map
is chapter 3b's grid of photographs, larger than on its page; the detail is what chapter 6 opens with, cut from its
gallery. The hero needs the cut-outs and EfficientNet-Lite0, the map the cut-outs, and the social preview chromium.
"""

import argparse
import base64
import html
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import nbformat
import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from course_lib import cutouts, embedding, models, plotting
from project.repository import BOOK, CONFIG, ROOT

IMAGES = ROOT / BOOK / "images"
CARD_SIZE = (480, 300)


class Card(NamedTuple):
    """A page's figure, counted from its top, and which of its images, row by row."""

    page: str
    figure: int = 0
    tiles: tuple[int, ...] = ()  # none: the whole figure
    columns: int = 2
    part: tuple[float, float, float, float] = (0, 0, 1, 1)  # of a whole figure: left, top, right, bottom
    file: str = ""  # of images/, where the page shows a file


CARDS = [
    Card("02_filters", figure=2, part=(0.0, 0.1, 0.48, 1.0)),
    Card("03_feature_space", tiles=(5, 6, 7, 15, 16, 17), columns=3),
    Card("04_activations", tiles=(0, 1, 2, 3, 4, 5), columns=3),
    Card("05_which_pixels_matter", figure=2, tiles=(0, 4, 8, 3, 6, 11), columns=3),
    Card("06_gradient_ascent", tiles=(0, 1), file="ascent.webp"),
    Card("07_adversarial", tiles=(0, 1)),
    Card("08_deepdream", figure=1, tiles=(2,), columns=1),
    Card("09_inversion", figure=6, tiles=(0, 1, 2, 3, 4, 5), columns=3),
    Card("10_texture", figure=1, tiles=(2, 3)),
    Card("11_style", tiles=(0, 1)),
    Card("12_random_weights", tiles=(0, 1, 2, 3, 4, 5), columns=3),
]

MAP, MAP_BOX = "01_embeddings", (0, 80, 420, 262)  # left, top, width, height of what its card shows

# Below the photographs in the hero, from left to right.
PAINTED = [
    Card("06_gradient_ascent", tiles=(2,), file="ascent.webp"),
    Card("08_deepdream", figure=1, tiles=(2,)),
    Card("11_style", tiles=(0,)),
    Card("11_style", tiles=(1,)),
]

# Which of the cut-outs the hero shows: so many of each group, at equal distances in their list.
GROUPS = {
    "animals/mammals": 20,
    "animals/birds": 14,
    "plants/flowers": 12,
    "food/fruit": 9,
    "hobbies/music": 7,
    "space/planets": 6,
    "animals/fish": 4,
}
ROWS, COLUMNS = 6, 12
GROUND = 0.93


# ---------------------------------------------------------------- what the notebooks have stored


def figures(page: str) -> list[Image.Image]:
    """The images that a notebook has stored, from its top."""
    cells = nbformat.read(ROOT / BOOK / f"{page}.ipynb", as_version=4).cells
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    stored = [data[kind] for data in outputs for kind in ("image/jpeg", "image/png") if kind in data]
    return [Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB") for image in stored]


def tiles(figure: Image.Image, least: int = 60) -> list[Image.Image]:
    """The images of a grid with white air between them, row by row; heads and labels are smaller than `least`."""
    filled, _ = ndimage.label(np.asarray(figure.convert("L")) < 248, structure=np.ones((3, 3)))
    boxes = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in ndimage.find_objects(filled)]
    boxes = [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= least]
    boxes.sort(key=lambda box: (round((box[1] + box[3]) / least), box[0]))  # a pixel up or down is the same row
    return [figure.crop((left + 2, top + 2, right - 2, bottom - 2)) for left, top, right, bottom in boxes]


def chosen(row: Card) -> list[Image.Image]:
    """The images that a row names, in its order."""
    stored = [Image.open(IMAGES / row.file).convert("RGB")] if row.file else figures(row.page)
    if row.figure >= len(stored):
        sys.exit(f"{row}: the page has stored {len(stored)} figures")
    found = tiles(stored[row.figure])
    if max(row.tiles, default=-1) >= len(found):
        sys.exit(f"{row}: this figure has {len(found)} tiles")
    return [found[i] for i in row.tiles] or [cut(trimmed(stored[row.figure]), row.part)]


def cut(figure: Image.Image, part: Sequence[float]) -> Image.Image:
    left, top, right, bottom = (round(side * share) for side, share in zip(figure.size * 2, part, strict=True))
    return figure.crop((left, top, right, bottom))


def trimmed(figure: Image.Image) -> Image.Image:
    """Without its white border."""
    rows, columns = (np.asarray(figure.convert("L")) < 248).nonzero()
    return figure.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


# ---------------------------------------------------------------- the cards


def beside(images: Sequence[Image.Image], columns: int, size: tuple[int, int], gap: int = 4) -> Image.Image:
    """Images in rows, each cut to its part of a page of this size."""
    counts = (columns, -(-len(images) // columns))
    width, height = ((side + gap) // count - gap for side, count in zip(size, counts, strict=True))
    page = Image.new("RGB", size, "white")
    for i, image in enumerate(images):
        at = (i % columns * (width + gap), i // columns * (height + gap))
        page.paste(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS), at)
    return page


def card(row: Card) -> Image.Image:
    return beside(chosen(row), row.columns if row.tiles else 1, CARD_SIZE)


def map_of_words() -> str:
    """The map of chapter 1, which is drawing and text, cut to the shape of a card."""
    cells = nbformat.read(ROOT / BOOK / f"{MAP}.ipynb", as_version=4).cells
    pages = [
        output.data.get("text/html", "") for cell in cells for output in cell.get("outputs", []) if "data" in output
    ]
    drawing = next(page for page in pages if page.startswith("<svg"))
    drawing = drawing[: drawing.index("</svg>") + 6]
    box, tag = f'viewBox="{" ".join(map(str, MAP_BOX))}"', '<svg xmlns="http://www.w3.org/2000/svg"'
    return re.sub('viewBox="[^"]*"', box, drawing.replace("<svg", tag, 1), count=1)


def write_cards() -> None:
    (IMAGES / "cards").mkdir(exist_ok=True)
    for row in CARDS:
        card(row).save(IMAGES / "cards" / f"{row.page[:2]}.webp", quality=58, method=6)
    (IMAGES / "cards" / f"{MAP[:2]}.svg").write_text(map_of_words())


# ---------------------------------------------------------------- the hero


def spread(members: Sequence[int], count: int) -> list[int]:
    return [members[i * len(members) // count] for i in range(count)]


def sorted_by_a_network() -> list[Image.Image]:
    """Cut-outs, row by row: t-SNE of the pooled features of EfficientNet-Lite0, as an image grid."""
    collection, net = cutouts.collection(), models.load("efficientnet_lite0")
    index = [i for group, count in GROUPS.items() for i in spread(collection.within(group), count)]
    points = embedding.tsne(embedding.codes(net, "flatten", collection.images(index)), perplexity=8)
    cells = embedding.grid(points, ROWS, COLUMNS).flatten().tolist()
    return [page(image) for image in collection.images([index[i] for i in cells], 132, ground=GROUND)]


def page(image: Tensor) -> Image.Image:
    return Image.fromarray((255 * image.permute(1, 2, 0)).round().byte().numpy())


def write_hero() -> None:
    """Photographs above, what networks painted below; no file but these two has a part of it."""
    width = COLUMNS * 132
    above = beside(sorted_by_a_network(), COLUMNS, (width, ROWS * 132), gap=0)
    painted = [image for row in PAINTED for image in chosen(row)]
    below = beside(painted, len(painted), (width, 387), gap=12)
    hero = Image.new("RGB", (width, above.height + 12 + below.height), "white")
    hero.paste(above, (0, 0))
    hero.paste(below, (0, above.height + 12))
    hero.save(IMAGES / "readme.jpg", quality=80, optimize=True, progressive=True)


# ---------------------------------------------------------------- what a link to the book looks like


SOCIAL = """<style>
@font-face {{ font-family: Serif4; src: url("{fonts}/serif-latin-normal.woff2"); font-weight: 200 900 }}
@font-face {{ font-family: Sans3; src: url("{fonts}/sans-latin-normal.woff2"); font-weight: 200 900 }}
body {{ margin: 0; width: 1200px; height: 630px; overflow: hidden; background: #fff; color: #22313f }}
header {{ display: flex; align-items: center; gap: 28px; height: 150px; padding: 0 48px }}
header img {{ height: 86px }}
h1 {{ margin: 0; font: 600 60px Serif4, serif; letter-spacing: -1px }}
p {{ margin: 0 0 0 auto; font: 400 27px/1.3 Sans3, sans-serif; color: #55636f; text-align: right }}
.hero {{ width: 1200px; display: block; margin-top: -300px; clip-path: inset(300px 0 0 0) }}
</style><header><img src="{images}/logo.svg"><h1>{title}</h1>
<p>seen in a few lines of code,<br>measured where the truth is known</p></header>
<img class="hero" src="{images}/readme.jpg">"""


def write_social() -> None:
    from playwright.sync_api import sync_playwright  # here, as only this needs it

    preview = IMAGES / "social.html"
    fonts = (ROOT / "vendor" / "static" / "fonts").as_uri()
    preview.write_text(SOCIAL.format(fonts=fonts, images=IMAGES.as_uri(), title=CONFIG["title"]))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        window = chromium.new_page(viewport={"width": 1200, "height": 630})
        window.goto(preview.as_uri(), wait_until="networkidle")
        window.screenshot(path=IMAGES / "social.jpg", type="jpeg", quality=82)
        chromium.close()
    preview.unlink()


# ---------------------------------------------------------------- a large file


def grid_of_photographs() -> Tensor:
    """Which cut-out is where in chapter 3b, (rows, columns), as its page has stored it."""
    stored = (ROOT / BOOK / "03b_maps.ipynb").read_text()
    (found,) = re.findall(r"data-tiles=\\\"(.*?)\\\"", stored)
    return torch.tensor(json.loads(html.unescape(json.loads(f'"{found}"')))["grid"])


DETAILS = (0, 5, 8, 11)  # of the gallery in chapter 6, row by row: what its first picture shows


def write_detail() -> None:
    found = tiles(Image.open(IMAGES / "classes.webp").convert("RGB"))
    beside([found[tile] for tile in DETAILS], 2, (644, 644)).save(IMAGES / "ascent.webp", quality=80, method=6)


def write_map() -> None:
    photographs = cutouts.collection().images(size=208, ground=1.0)
    mosaic = plotting.mosaic(photographs, grid_of_photographs())
    (IMAGES / "cutouts.webp").write_bytes(plotting.encode(mosaic, "webp", 72))


if __name__ == "__main__":
    parts = {"hero": write_hero, "cards": write_cards, "social": write_social, "map": write_map, "detail": write_detail}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), metavar="hero | cards | social | map | detail")
    for part in parser.parse_args().parts:
        parts[part]()
