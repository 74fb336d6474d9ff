"""Where the course lives, and what is derived from it.

`_config.yml` holds the address once. Whatever else needs it asks here.
"""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
URL: str = CONFIG["repository"]["url"]
BRANCH: str = CONFIG["repository"]["branch"]
BOOK: str = CONFIG["repository"]["path_to_book"]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def notebooks() -> list[Path]:
    """The book's notebooks, in order."""
    return sorted((ROOT / BOOK).glob("*.ipynb"))


def first_cell() -> str:
    """The first code cell of every notebook.

    `--no-deps`, and pinned to a tag: Colab has everything but openTSNE, and replacing any of it forces a restart.
    """
    return (
        "# In Colab this installs the course's package; elsewhere it does nothing.\n"
        "import sys\n"
        "\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install --quiet --no-deps openTSNE "course-lib @ git+{URL}@v{VERSION}"'
    )


def colab_link(notebook: str) -> str:
    """Where the launch button of `notebook` (a file name in the book's folder) must lead."""
    owner_and_name = URL.removeprefix("https://github.com/")
    colab = CONFIG["launch_buttons"]["colab_url"]
    return f"{colab}/github/{owner_and_name}/blob/{BRANCH}/{BOOK}/{notebook}"
