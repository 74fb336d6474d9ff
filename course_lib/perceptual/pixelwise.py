"""Tasks that want a map: what stands where, how far, what is sharper, at every pixel of a scene."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.optimizers import OneCycle
from course_lib.world import Scenes

SIZE = 48  # side of the maps
BATCH = 8
RATE = 4e-3
BORDER = 2  # pixels to either side of an object's outline that count as its border
KINDS = ("ground", "bar", "object", "ribbon")  # what a scene is made of, from the back to the front


class Task(NamedTuple):
    """What to predict from a scene, with which network, and how good it is.

    given, wanted: scenes -> the network's input, and the map (n, c, h, w) that it must find. network: makes an
    untrained one. loss: of its output and what is wanted. structure: its output -> a map like the wanted one.
    measures: structure and scenes -> name -> number; the first is what a weight is chosen by. larger: whether larger
    is better, for each measure.
    """

    given: Callable[[Scenes], Tensor]
    wanted: Callable[[Scenes], Tensor]
    network: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    structure: Callable[[Tensor], Tensor]
    measures: Callable[[Tensor, Scenes], dict[str, float]]
    larger: dict[str, bool]


def train(
    task: Task,
    scenes: Scenes,
    *,
    extra: Callable[[Tensor, Tensor], Tensor] | None = None,
    weight: float = 1.0,
    steps: int,
    seed: int,
) -> nn.Module:
    """argmin over weights of loss(y, t) + weight * extra(structure(y), t), y the output: the trained network.

    extra: such as a `PerceptualLoss`. Two calls with one seed begin with the same weights and see the same batches.
    """
    require(steps >= 1, f"steps must be at least 1, got {steps}")
    given, wanted = task.given(scenes), task.wanted(scenes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their start from the global generator
        network = task.network().to(given.device).to(memory_format=torch.channels_last).train()
    chance = torch.Generator().manual_seed(seed)
    cycle = OneCycle(network, steps, rate=RATE, rise=0.2, decay=0.01)
    for _ in range(steps):
        rows = torch.randint(len(given), (BATCH,), generator=chance).to(given.device)
        x, t = (part[rows].contiguous(memory_format=torch.channels_last) for part in (given, wanted))
        y = network(x)
        loss = task.loss(y, t)
        if extra is not None:
            loss = loss + weight * extra(task.structure(y), t)
        cycle.step(loss)
    return network.eval()


@torch.no_grad()
def predict(task: Task, network: nn.Module, scenes: Scenes) -> Tensor:
    """The maps (n, c, h, w) that the network finds."""
    return torch.cat([task.structure(network(x)) for x in task.given(scenes).split(64)])


# ---------------------------------------------------------------- networks


class UNet(nn.Module):
    """Pictures (n, 3, h, w) -> maps (n, out, h, w): down twice, up twice, with a bridge at each size.

    h and w are multiples of 4. Source: Ronneberger 2015, with one convolution where they have two, and normalised.
    """

    def __init__(self, out: int, widths: tuple[int, int, int] = (16, 32, 64)):
        super().__init__()
        a, b, c = widths
        self.down = nn.ModuleList([_convolution(3, a), _convolution(a, b), _convolution(b, c)])
        self.bottom = _convolution(c, c)
        self.up = nn.ModuleList([_convolution(c + b, b), _convolution(b + a, a)])
        self.out = nn.Conv2d(a, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down[0](2 * x - 1)  # (n, a, h, w)
        middle = self.down[1](F.max_pool2d(fine, 2))  # (n, b, h / 2, w / 2)
        coarse = self.bottom(self.down[2](F.max_pool2d(middle, 2)))  # (n, c, h / 4, w / 4)
        middle = self.up[0](torch.cat([_twice(coarse), middle], 1))
        return self.out(self.up[1](torch.cat([_twice(middle), fine], 1)))


class Upscaler(nn.Module):
    """Pictures (n, 3, h, w) -> (n, 3, 2 h, 2 w): what bilinear interpolation leaves out is learnt.

    Source: the residual blocks and the sub-pixel convolution of Lim 2017 (EDSR), without normalisation.
    """

    def __init__(self, width: int = 24, blocks: int = 3):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(blocks)
        )
        self.last = nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(2 * x - 1)
        for block in self.blocks:
            h = h + block(h)
        return _twice(x) + self.last(h)


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


# ---------------------------------------------------------------- what the tasks want


def pictures(scenes: Scenes) -> Tensor:
    return scenes.images


def halved(scenes: Scenes) -> Tensor:
    """Pictures at half the size: what super-resolution starts from."""
    return F.avg_pool2d(scenes.images, 2)


def kind_maps(scenes: Scenes) -> Tensor:
    """(n, 4, h, w), one where a pixel shows that one of KINDS: bars lie at 0.72, ribbons nearer than objects."""
    bar = (scenes.depth - 0.72).abs() < 1e-4
    kinds = torch.where(scenes.masks, 2, torch.where(scenes.depth < 0.2, 3, bar.long()))[:, 0]
    return F.one_hot(kinds, len(KINDS)).permute(0, 3, 1, 2).float()


def depth_maps(scenes: Scenes) -> Tensor:
    return scenes.depth


# ---------------------------------------------------------------- measures


def intersection_over_union(found: Tensor, wanted: Tensor) -> float:
    """The mean over classes of |A and B| / |A or B|, counted over all pixels of all maps (n, c, h, w) together."""
    a, b = (F.one_hot(maps.argmax(1), maps.shape[1]).flatten(0, 2).bool() for maps in (found, wanted))  # (n h w, c)
    both, either = (a & b).sum(0), (a | b).sum(0)
    return float((both[either > 0] / either[either > 0]).mean())


def pieces(maps: Tensor) -> float:
    """The mean number of connected regions of one class in maps (n, c, h, w); pixels connect by their sides."""
    labels = maps.argmax(1).cpu().numpy()
    return float(np.mean([sum(scipy.ndimage.label(one == c)[1] for c in np.unique(one)) for one in labels]))


def edge_error(found: Tensor, wanted: Tensor, masks: Tensor) -> float:
    """Mean difference of the Sobel magnitudes near the borders of the masks (n, 1, h, w), in units of the map."""
    x = masks.float()
    near = F.max_pool2d(x, 2 * BORDER + 1, 1, BORDER) + F.max_pool2d(-x, 2 * BORDER + 1, 1, BORDER) > 0
    difference = (_slopes(found) - _slopes(wanted)).abs().mean(1, keepdim=True)
    return float(difference[near].mean())


def _slopes(x: Tensor) -> Tensor:
    """The Sobel magnitude of each channel, (n, c, h, w); a ramp of one a pixel has one."""
    kernel = x.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    kernels = torch.stack([kernel, kernel.T])[:, None].repeat(x.shape[1], 1, 1, 1)  # (2 c, 1, 3, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernels, groups=x.shape[1]).unflatten(1, (-1, 2)).norm(dim=2)


def _segmentation(found: Tensor, scenes: Scenes) -> dict[str, float]:
    return {"mIoU": intersection_over_union(found, kind_maps(scenes)), "pieces": pieces(found)}


def _depth(found: Tensor, scenes: Scenes) -> dict[str, float]:
    rmse = float((found - scenes.depth).square().mean().sqrt())
    return {"RMSE": rmse, "edge error": edge_error(found, scenes.depth, scenes.masks)}


def _sharpness(found: Tensor, scenes: Scenes) -> dict[str, float]:
    psnr = -10 * (found - scenes.images).square().mean((1, 2, 3)).log10()
    pairs = zip(found.cpu().numpy(), scenes.images.cpu().numpy(), strict=True)
    ssim = [structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]
    edges = edge_error(found, scenes.images, scenes.masks)
    return {"edge error": edges, "PSNR": float(psnr.mean()), "SSIM": float(np.mean(ssim))}


def _softmax(y: Tensor) -> Tensor:
    return y.softmax(1)


def _itself(y: Tensor) -> Tensor:
    return y


TASKS = {
    "segmentation": Task(
        pictures,
        kind_maps,
        lambda: UNet(len(KINDS)),
        F.cross_entropy,
        _softmax,
        _segmentation,
        {"mIoU": True, "pieces": False},
    ),
    "depth": Task(
        pictures, depth_maps, lambda: UNet(1), F.l1_loss, _itself, _depth, {"RMSE": False, "edge error": False}
    ),
    "super-resolution": Task(
        halved,
        pictures,
        Upscaler,
        F.l1_loss,
        _itself,
        _sharpness,
        {"edge error": False, "PSNR": True, "SSIM": True},
    ),
}
