"""What test modules share: small networks; the ImageNet network, a browser and a sandbox where they are at hand."""

import fcntl
import functools
import http.server
import os
import subprocess
import sys
import threading

import pytest
import torch

from course_lib import models, world
from course_lib.grading import sandbox
from project.browser import executable, launched
from project.repository import BOOK, ROOT


@pytest.fixture(scope="session")
def coursenet():
    return models.load("coursenet")


@pytest.fixture(scope="session")
def squeezenet():
    """The ImageNet SqueezeNet where its weights are on the machine, else a random one: either will do."""
    trained = models.cached_file("squeezenet1_0").exists()
    return models.load("squeezenet1_0", weights="pretrained" if trained else "random")


@pytest.fixture(scope="session")
def scenes():
    return world.draw(8, seed=123)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def sandboxed():
    """Tests of untrusted code are skipped without a sandbox, but not where nobody would notice."""
    try:
        sandbox.probe()
    except sandbox.NoSandbox as error:
        assert not os.environ.get("CI"), f"continuous integration must have a sandbox: {error}"
        pytest.skip(f"no sandbox on this machine: {error}")


@pytest.fixture(scope="module")
def browser():
    if executable() is None:
        pytest.skip("NO BROWSER: install chromium to test what it shows")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def html():
    """The folder of the rendered book. If nothing has rendered it yet, one process does, and the others wait."""
    folder = ROOT / "_build" / "html"
    with (ROOT / BOOK / "_toc.yml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "index.html").exists():
            subprocess.run([sys.executable, "-m", "tools.build_book"], cwd=ROOT, check=True)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(html):
    """The rendered book's address on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
