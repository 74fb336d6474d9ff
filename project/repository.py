"""Where the course lives, and what is derived from it.

`_config.yml` holds the address once. Whatever else needs it asks here.
"""

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
URL: str = CONFIG["repository"]["url"]
BRANCH: str = CONFIG["repository"]["branch"]
BOOK: str = CONFIG["repository"]["path_to_book"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
NETWORKS: list[str] = PROJECT["optional-dependencies"]["networks"]
STAMPS = "tuxpaint-stamps-default"
OFFLINE = "The course could not be installed: is this notebook online?"


def notebooks() -> list[Path]:
    """The book's notebooks, in order."""
    return sorted((ROOT / BOOK).glob("*.ipynb"))


def first_cell(*, cutouts: bool = False) -> str:
    """The first code cell of a notebook; with the photographed cut-outs, if the notebook shows them.

    `--no-deps`: Colab has everything but these, and replacing any of it forces a restart. The course is that of the
    notebook's tag; as long as there is none, that of the branch. Offline it says so in a line.
    """
    tag, branch = (f'{{pip}} "course-lib @ {{url}}@{name}"' for name in (f"v{VERSION}", BRANCH))
    lines = [
        "# In Colab this installs what the course needs; elsewhere it does nothing.",
        "import sys",
        "",
        'if "google.colab" in sys.modules:',
        f'    pip = "pip install --quiet --no-deps openTSNE {" ".join(NETWORKS)}"',
        f'    url = "git+{URL}"',
        f'    !({tag} || {branch}) 2> /dev/null || echo "{OFFLINE}"',
        *[f"    !apt-get install -qq {STAMPS} > /dev/null"] * cutouts,
    ]
    return "\n".join(lines)


def shows_cutouts(notebook: Any) -> bool:
    """Whether cells of a notebook need the photographed cut-outs."""
    return any("cutouts" in cell["metadata"].get("tags", []) for cell in notebook["cells"])


def colab_link(notebook: str) -> str:
    """Where the launch button of `notebook` (a file name in the book's folder) must lead."""
    owner_and_name = URL.removeprefix("https://github.com/")
    colab = CONFIG["launch_buttons"]["colab_url"]
    return f"{colab}/github/{owner_and_name}/blob/{BRANCH}/{BOOK}/{notebook}"
