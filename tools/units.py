"""What single units want to see: an image for each channel of some layers, in sheets that the live page shows.

python -m tools.units [NETWORK LAYER]     (default: all of them; half an hour on one core)

A sheet is stored beside the page's scripts, live/units/NETWORK-LAYER.webp: the channels row by row, COLUMNS in a row,
each image as large as what the unit sees.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from course_lib import images, models, recipes, taps
from course_lib.models import Network
from project.repository import ROOT

SHEETS = ROOT / "live" / "units"
COLUMNS = 16
LAYERS = {
    "coursenet": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "efficientnet_lite0": ("block3", "block5", "block8"),
}
STEPS = 48
BATCH = 16


def sheet(network: str, layer: str) -> Path:
    """Where the sheet of a layer is stored."""
    return SHEETS / f"{network}-{layer}.webp"


def wanted(net: Network, layer: str, channels: list[int]) -> Tensor:
    """What the unit in the middle of each channel responds to most, cut to what it sees: (channels, 3, size, size)."""
    (size, stride, start), _ = taps.receptive_field(net, layer).axes  # along rows and columns alike
    margin = max(4, size // 16)
    side = -(-(size + 2 * margin) // (2 * stride)) * 2 * stride
    row = -(-(margin - start) // stride)
    found = recipes.maximize_activation(
        net,
        layer,
        channels,
        at=(row, row),
        image=images.Fourier(side, side, len(channels), seed=0),
        transform=images.jitter(max(1, margin // 2)),
        steps=STEPS,
        progress=False,
    )
    top = start + row * stride
    return found.image[:, :, top : top + size, top : top + size]


def write(network: str, layer: str) -> None:
    """Make and store the sheet of a layer."""
    net = models.load(network)
    with torch.no_grad():
        count = taps.Taps(net, layer)(torch.zeros(1, 3, net.image_size, net.image_size))[layer].shape[1]
    batches = torch.arange(count).split(BATCH)
    found = torch.cat([wanted(net, layer, batch.tolist()) for batch in batches])
    grid = make_grid(found, nrow=COLUMNS, padding=0)
    SHEETS.mkdir(exist_ok=True)
    pixels = (grid * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(sheet(network, layer), lossless=found.shape[-1] < 16, quality=85, method=6)


def main(arguments: list[str]) -> None:
    for network, layer in [tuple(arguments)] if arguments else [(n, name) for n in LAYERS for name in LAYERS[n]]:
        print(network, layer, flush=True)
        write(network, layer)


if __name__ == "__main__":
    main(sys.argv[1:])
