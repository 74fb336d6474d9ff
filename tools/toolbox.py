"""Writes what the live page's toolbox shows of a unit: its nine top patches, and the image that it responds to most."""

import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from course_lib import cutouts, data, patches, taps, world
from course_lib.models import Network
from tools import units

PATCHES = 9  # a unit
TILE = 64  # pixels a side, at most
SCENES, COMPOSED = 256, 58
OF_SCENES = f"From {SCENES} drawn scenes of this course."
OF_PHOTOGRAPHS = "From the course's photographs and scenes composed from cut-outs of Tux Paint's stamps (GPL-2)."
NAMES = {"coursenet": "coursenet", "lite0": "efficientnet_lite0"}  # the page's names and the package's


def images(short: str) -> Tensor:
    """The images among which a network's top patches are found."""
    if short == "coursenet":
        return world.draw(SCENES, seed=41).images
    photographs = [data.photograph(name) for name in data.photographs()]
    return torch.cat([*photographs, *([cutouts.compose(COMPOSED, seed=5).images] if cutouts.available() else [])])


def write(net: Network, short: str, static: Path) -> None:
    """Writes units-SHORT.js, and two sheets for each of the layers in tools/units.py."""
    seen, facts = images(short), {}
    for layer in units.LAYERS[NAMES[short]]:
        found = patches.top_patches(net, layer, seen, PATCHES, progress=False)
        (size, *_), _ = taps.receptive_field(net, layer).axes
        cut = torch.cat([patches.crops(found, seen, channel) for channel in range(len(found.values))])
        tile = min(size, TILE)
        cut = F.interpolate(cut, (tile, tile), mode="area") if tile < size else cut
        sheet = make_grid(cut, nrow=PATCHES, padding=0)
        pixels = (sheet * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(static / f"patches-{short}-{layer}.webp", lossless=tile < 16, quality=80)
        shutil.copy(units.sheet(NAMES[short], layer), static / f"wanted-{short}-{layer}.webp")
        values = [[round(v, 2) for v in row] for row in found.values.tolist()]
        facts[layer] = {"size": size, "tile": tile, "columns": units.COLUMNS, "values": values}
    credit = OF_SCENES if short == "coursenet" else OF_PHOTOGRAPHS
    (static / f"units-{short}.js").write_text(
        f"live.units = {{ ...live.units, {short}: {json.dumps({'credit': credit, 'layers': facts})} }};\n"
    )
