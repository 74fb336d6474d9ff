"""The live page's engines, forward and with a gradient, over ONNX Runtime Web's forward; and its first answers.

ONNX Runtime Web is the maintained runtime that a page would take instead; it has no backward pass. It comes from npm,
and both run in Node. The answers are timed in a browser, on the built book, served by this machine.
"""

import functools
import http.server
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from bench.measuring import interleaved
from bench.rows import versus
from project.benches import Row
from project.browser import launched
from project.repository import ROOT

VERSION = "1.30.0"
ROUNDS = 9
NETWORKS = {"coursenet": "CourseNet, 96 px", "lite0": "EfficientNet-Lite0, 224 px"}
PEER = "ONNX Runtime Web, forward"
AGAINST = "ONNX Runtime Web's forward, one thread"
SITE = ROOT / "_build" / "html"
WIDTHS = (390, 1400)
OPENING, ARRIVAL = 3.0, 10.0  # seconds that a first answer may take, after the page is opened and the weights are there


def rows() -> Iterator[Row]:
    if not (SITE / "live.html").exists():
        subprocess.run([sys.executable, "-m", "tools.build_book"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for network, runs in measured().items():
        theirs = [t / 1000 for t in runs.pop(PEER)]
        for what, milliseconds in runs.items():
            ours = [t / 1000 for t in milliseconds]
            yield versus(f"live page, {NETWORKS[network]}, {what}", AGAINST, ours, theirs)
    yield from first_answers()


def measured(rounds: int = ROUNDS) -> dict[str, dict[str, list[float]]]:
    """Network -> what was run -> milliseconds of each round."""
    with tempfile.TemporaryDirectory() as folder:
        install = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, f"onnxruntime-web@{VERSION}"]
        subprocess.run(install, check=True)
        command = ["node", str(ROOT / "bench" / "live.js"), str(SITE / "_static" / "live"), folder, str(rounds)]
        found: dict[str, dict[str, list[float]]] = json.loads(
            subprocess.run(command, check=True, capture_output=True).stdout
        )
        return found


# ---------------------------------------------------------------- first answers


def first_answers(rounds: int = ROUNDS) -> Iterator[Row]:
    with served() as address, launched() as browser:
        times = interleaved(rounds, *(functools.partial(answers, browser, address, width) for width in WIDTHS))
    for width, found in zip(WIDTHS, times, strict=True):
        after_opening, after_arrival = zip(*found, strict=True)
        for what, seconds, limit in (
            ("on the drawn world after opening", after_opening, OPENING),
            ("of EfficientNet-Lite0 after its weights have come", after_arrival, ARRIVAL),
        ):
            against = f"the {limit:g} s that it may take"
            yield versus(
                f"live page at {width} px, first answer {what}", against, seconds, [limit] * rounds, bar="at most 1"
            )


def answers(browser: Browser, address: str, width: int) -> tuple[float, float]:
    """Seconds from opening the page to CourseNet's answer, and from the last of Lite0's weights to its own."""
    context = browser.new_context(viewport={"width": width, "height": 850}, has_touch=width < 800)
    page = context.new_page()
    page.goto(f"{address}/live.html", wait_until="commit")
    page.wait_for_function("document.querySelector('#live [data-status]')?.textContent.includes('says star')")
    opened = page.evaluate("performance.now()")
    page.locator("[name=live-network][value=lite0]").check(force=True)
    page.wait_for_function("document.querySelector('#live [data-status]').textContent.includes('cat')")
    told = page.evaluate("performance.now()")
    came = page.evaluate(
        "Math.max(...performance.getEntriesByType('resource').filter(e => /lite0-[0-9]+/.test(e.name))"
        ".map(e => e.responseEnd))"
    )
    context.close()
    return opened / 1000, (told - came) / 1000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path = SITE) -> Iterator[str]:
    """The address of the built book on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
