"""A dream of a whole photograph, which takes longer than a page may."""

import argparse
from typing import Any

from course_lib import data, models, plotting, recipes

NETWORKS = ("vgg19_features", "efficientnet_lite0")
PHOTOGRAPHS = ("astronaut", "chelsea", "china", "coffee", "flower", "rocket")


def dream(given: argparse.Namespace) -> None:
    """Dream one photograph at its own size, and write it as JPEG.

    Args:
        given: The command's arguments.
    """
    net, x = models.load(given.network), data.photograph(given.photograph, None)
    found = recipes.deepdream(net, x, given.layer, octaves=given.octaves, steps=given.steps)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{given.photograph}-{given.layer}.jpg"
    path.write_bytes(plotting.encode(found.image, "jpeg", 80))
    print(f"{path}: {x.shape[3]} x {x.shape[2]} pixels, {path.stat().st_size / 1000:.0f} kB")


def add_parsers(tables: Any) -> None:
    """Add the command `dream`.

    Args:
        tables: What argparse's `add_subparsers` gave.
    """
    one = tables.add_parser("dream", help="DeepDream of a whole photograph, at its own size")
    one.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    one.add_argument("--photograph", choices=PHOTOGRAPHS, default="coffee")
    one.add_argument("--layer", default="relu4_4")
    one.add_argument("--octaves", type=int, default=6, help="number of copies")
    one.add_argument("--steps", type=int, default=15, help="for each of them")
    one.set_defaults(run=dream)
