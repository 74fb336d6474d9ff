"""Render the book from the notebooks' stored outputs into `_build/html`, self-contained.

A page needs MathJax and its typefaces, pages with widgets need require.js and the widget manager, and a large picture
is zoomed with OpenSeadragon. They are not ours to publish, so they are fetched from npm into `vendor/`, pinned and
checked. Without npm the pages load the scripts from their usual addresses, but for OpenSeadragon (a large picture then
only opens at full size), and use the reader's own typefaces. With them comes axe-core, which only the tests need.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

from project.repository import BOOK, CONFIG, ROOT
from tools import benchmarks, lecture, live, reference

VENDOR = ROOT / "vendor"
OUTPUT = ROOT / "_build"
WITHOUT = "the pages will load MathJax and the widget manager from the network, and large pictures will not zoom"

# npm package and version -> (SHA-512 of its archive, {path in the archive: path below vendor/})
PACKAGES = {
    "mathjax@4.1.3": (
        "BN/8Pkgn7G1pIDYJqd9md+JHsE/jydSYbyOZnSdSA0WziuVO8mRxdYiWFumkVVly/8U+hm9DpIIoWuvySverzw==",
        {
            "tex-mml-chtml.js": "static/mathjax/tex-mml-chtml.js",
            "input/tex/extensions": "static/mathjax/input/tex/extensions",
            "a11y/assistive-mml.js": "static/mathjax/a11y/assistive-mml.js",  # for readers who listen to the formulas
        },
    ),
    "@mathjax/mathjax-newcm-font@4.1.3": (
        "gzAB3dFHilHX1l5x2xUqRL+1jDQt3Fyza1DkEMVXWC4E8SvsGdlgEza47HYi2WhVcgfkvf4zgUGzuhbq3Pjlew==",
        {
            "chtml": "static/mathjax/fonts/mathjax-newcm-font/chtml",
            "chtml.js": "static/mathjax/fonts/mathjax-newcm-font/chtml.js",
        },
    ),
    "requirejs@2.3.8": (
        "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
        {"require.js": "static/widgets/require.js"},
    ),
    "@jupyter-widgets/html-manager@1.0.15": (
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
        {"dist/embed-amd.js": "static/widgets/embed-amd.js"}
        # The icons on buttons, where the script looks for them: relative to the page.
        | {
            f"dist/{name}.woff2": f"root/@jupyter-widgets/html-manager/dist/{name}.woff2"
            for name in ("1551f4f60c37af51121f", "7a3337626410ca2f4071", "d878b0a6a1144760244f")
        },
    ),
    # The pages' typefaces (book/static/course.css); without them the reader's own serif and sans stand in.
    "@fontsource-variable/source-serif-4@5.3.1": (
        "4Rtay22SC4lMvw11r/+9kxANB6P3M0X8s1NudBC2v0J1KU2y3DcMoNcT3lBoZ/CqLirzf+StlO6UlJilyrvaUg==",
        {"LICENSE": "static/fonts/source-serif-4-LICENSE"}
        | {
            f"files/source-serif-4-{script}-wght-{style}.woff2": f"static/fonts/serif-{script}-{style}.woff2"
            for script, style in (
                ("latin", "normal"),
                ("latin", "italic"),
                ("latin-ext", "normal"),
                ("greek", "normal"),
            )
        },
    ),
    "@fontsource-variable/source-sans-3@5.3.1": (
        "u0p5Z/PM2e1uxYOMiodLM6NVzxHwULcB6Oi7QSr2WU/sdoLBFP/BeOZ3YYHeJ6rHsjPZA1nZweZVaV7sf2MAyQ==",
        {"LICENSE": "static/fonts/source-sans-3-LICENSE"}
        | {
            f"files/source-sans-3-latin-wght-{style}.woff2": f"static/fonts/sans-latin-{style}.woff2"
            for style in ("normal", "italic")
        },
    ),
    "@fontsource-variable/source-code-pro@5.3.1": (
        "N0nZDizh8CQ19+AHHA8Ssb1i/aQf4N2lpRl3qZVH4/9f1yNgWzTkBFpc26v+QQr2hm4By4aiv597BCoEg2SDQg==",
        {
            "LICENSE": "static/fonts/source-code-pro-LICENSE",
            "files/source-code-pro-latin-wght-normal.woff2": "static/fonts/code-latin-normal.woff2",
        },
    ),
    "openseadragon@6.1.1": (  # loaded by zoom.js, on pages that have a large picture
        "g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw==",
        {
            "build/openseadragon/openseadragon.min.js": "static/zoom/openseadragon.min.js",
            "LICENSE.txt": "static/zoom/LICENSE.txt",
        },
    ),
    "axe-core@4.14.0": (  # not published: tests/test_site.py looks for barriers with it
        "9WTZxEjsZ7b13TH8JPmbV2z8CHbl80/2hm3XPEG4JgNdQLK81IBRXmSxHfMAOkSqQeRxT/0dwNDz2GOm3zzpcQ==",
        {"axe.min.js": "test/axe.min.js"},
    ),
}


def fetch(package: str, sha512: str, wanted: dict[str, str], vendor: Path) -> None:
    """Put the wanted files of one npm package below `vendor`; refuse an archive with another checksum."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", folder, package],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        (archive,) = Path(folder).iterdir()
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != sha512:
            sys.exit(f"{package}: the archive's SHA-512 is {found}, not {sha512}")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        for source, target in wanted.items():
            path = Path(folder, "package", source)
            copy = shutil.copytree if path.is_dir() else shutil.copy
            (vendor / target).parent.mkdir(parents=True, exist_ok=True)
            copy(path, vendor / target)


def vendored() -> bool:
    """Fill vendor/ unless it holds this very set already; False, saying why, where that cannot be done."""
    stamp, pins = VENDOR / "pins.json", json.dumps(PACKAGES)
    if stamp.exists() and stamp.read_text() == pins:
        return True
    if not shutil.which("npm"):
        print(f"No npm here: {WITHOUT}.")
        return False
    shutil.rmtree(VENDOR, ignore_errors=True)
    try:
        for package, (sha512, wanted) in PACKAGES.items():
            fetch(package, sha512, wanted, VENDOR)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"npm failed ({error}): {WITHOUT}.")
        return False
    stamp.write_text(pins)
    return True


def write_pages(book: Path) -> None:
    """Write the pages that come from the code, anew for each build."""
    shutil.rmtree(book / "reference", ignore_errors=True)  # no page outlives its room
    (book / "reference").mkdir()
    for name, text in {"benchmarks": benchmarks.page(), "lecture": lecture.page(), **reference.pages()}.items():
        (book / f"{name}.md").write_text(text)


def main() -> None:
    config = CONFIG
    if not vendored():
        settings = config["sphinx"]["config"]
        settings["html_static_path"].remove("../vendor/static")
        for name in ("html_extra_path", "mathjax_path", "mathjax3_config", "nb_ipywidgets_js"):
            del settings[name]
    write_pages(ROOT / BOOK)
    # Always from scratch: no page outlives its source, and every warning is seen again.
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    live.write(OUTPUT / "live")
    # In the order given: require.js must come before what it loads.
    (OUTPUT / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    options: list[str | Path] = [
        "--config",
        OUTPUT / "config.yml",
        "--path-output",
        ROOT,
        "-W",
        "--keep-going",
        "--quiet",
    ]
    documented = os.environ | {"PYTHONPATH": str(ROOT)}  # the package of this folder, wherever another is installed
    if code := subprocess.run([jupyter_book, "build", ROOT / BOOK, *options], env=documented).returncode:
        sys.exit(code)
    with (OUTPUT / "html" / "index.html").open("a") as index:  # leads to the first page; has no icon to ask for
        index.write('<link rel="icon" href="data:,">\n')
    print(f"The book is built. Open {OUTPUT / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
