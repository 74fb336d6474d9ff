"""Tasks that want a map: what stands where, how far, what is sharper, at every pixel of a scene."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.measure import psnr
from course_lib.optimizers import OneCycle
from course_lib.world import Scenes

__all__ = [
    "KINDS",
    "TASKS",
    "Task",
    "UNet",
    "Upscaler",
    "depth_maps",
    "edge_error",
    "halved",
    "images",
    "intersection_over_union",
    "kind_maps",
    "pieces",
    "predict",
    "train",
]

BATCH = 8
RATE = 4e-3
BORDER = 2  # pixels to either side of an object's outline that count as its border
#: What a scene is made of, from the back to the front.
KINDS = ("ground", "bar", "object", "ribbon")


class Task(NamedTuple):
    """What to predict from a scene, with which network, and how good it is.

    Attributes:
        given: Gives the network's input for scenes.
        wanted: Gives the map (n, c, h, w) that the network must find for scenes.
        network: Makes an untrained network.
        loss: Scalar loss of the network's output and the wanted map.
        structure: Turns the network's output into a map like the wanted one.
        measures: Gives {measure: value} for such a map and its scenes.
        larger: {measure: whether larger is better}; the weight of an extra loss is chosen by the first.
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
    """``argmin over the network's weights of loss(y, t) + weight * extra(structure(y), t)``, y its output.

    Args:
        task: One of `TASKS`.
        scenes: The scenes to learn from.
        extra: (prediction, target) -> scalar, such as a `PerceptualLoss`; by default none.
        weight: Weight of the extra loss.
        steps: Number of steps, at least 1.
        seed: Two calls with one seed begin with the same weights and see the same batches.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        ValueError: steps < 1.
    """
    require(steps >= 1, f"steps must be at least 1, got {steps}")
    given, wanted = task.given(scenes), task.wanted(scenes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their initial weights from the global generator
        network = task.network().to(given.device).to(memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(seed)
    cycle = OneCycle(network, steps, rate=RATE, rise=0.2, decay=0.01)
    for _ in range(steps):
        rows = torch.randint(len(given), (BATCH,), generator=generator).to(given.device)
        x, t = (part[rows].contiguous(memory_format=torch.channels_last) for part in (given, wanted))
        y = network(x)
        loss = task.loss(y, t)
        if extra is not None:
            loss = loss + weight * extra(task.structure(y), t)
        cycle.step(loss)
    return network.eval()


@torch.no_grad()
def predict(task: Task, network: nn.Module, scenes: Scenes) -> Tensor:
    """The maps that the network finds.

    Args:
        task: One of `TASKS`.
        network: From `train`, with the same task.
        scenes: n scenes.

    Returns:
        (n, c, h, w), like what the task wants.
    """
    return torch.cat([task.structure(network(x)) for x in torch.split(task.given(scenes), 64)])


# ---------------------------------------------------------------- networks


class UNet(nn.Module):
    """Images (n, 3, h, w) -> maps (n, out, h, w): down twice, up twice, with a bridge at each size.

    Args:
        out: Number of channels of the maps.
        widths: Numbers of channels at full size, at half and at a quarter.

    Source: Ronneberger 2015. Deviation: one convolution where they have two, and normalised.
    """

    def __init__(self, out: int, widths: tuple[int, int, int] = (16, 32, 64)):
        super().__init__()
        a, b, c = widths
        self.down = nn.ModuleList([_convolution(3, a), _convolution(a, b), _convolution(b, c)])
        self.bottom = _convolution(c, c)
        self.up = nn.ModuleList([_convolution(c + b, b), _convolution(b + a, a)])
        self.out = nn.Conv2d(a, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The maps of images.

        Args:
            x: (n, 3, h, w) in [0, 1]; h and w are multiples of 4.

        Returns:
            (n, out, h, w), of any range.
        """
        fine = self.down[0](2 * x - 1)  # (n, a, h, w)
        middle = self.down[1](F.max_pool2d(fine, 2))  # (n, b, h / 2, w / 2)
        coarse = self.bottom(self.down[2](F.max_pool2d(middle, 2)))  # (n, c, h / 4, w / 4)
        middle = self.up[0](torch.cat([_twice(coarse), middle], 1))
        maps: Tensor = self.out(self.up[1](torch.cat([_twice(middle), fine], 1)))
        return maps


class Upscaler(nn.Module):
    """Images (n, 3, h, w) -> (n, 3, 2 h, 2 w): what bilinear interpolation leaves out is learnt.

    Args:
        width: Number of channels of the residual blocks.
        blocks: Number of residual blocks.

    Source: Lim 2017 (EDSR): the residual blocks and the sub-pixel convolution, without normalisation. Deviation: size.
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
        """Images at twice the size.

        Args:
            x: (n, 3, h, w) in [0, 1].

        Returns:
            (n, 3, 2 h, 2 w), not clamped.
        """
        h = self.first(2 * x - 1)
        for block in self.blocks:
            h = h + block(h)
        detail: Tensor = self.last(h)
        return _twice(x) + detail


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


# ---------------------------------------------------------------- what the tasks want


def images(scenes: Scenes) -> Tensor:
    """The images as they are.

    Args:
        scenes: n scenes.

    Returns:
        (n, 3, h, w) in [0, 1].
    """
    return scenes.images


def halved(scenes: Scenes) -> Tensor:
    """Images at half the size: what super-resolution is given.

    Args:
        scenes: n scenes.

    Returns:
        (n, 3, h / 2, w / 2) in [0, 1]; odd sides are rounded down.
    """
    return F.avg_pool2d(scenes.images, 2)


def kind_maps(scenes: Scenes) -> Tensor:
    """One where a pixel shows that one of `KINDS`: bars lie at a depth of 0.72, ribbons nearer than objects.

    Args:
        scenes: n scenes.

    Returns:
        (n, 4, h, w), one-hot.
    """
    bar = (scenes.depth - 0.72).abs() < 1e-4
    kinds = torch.where(scenes.masks, 2, torch.where(scenes.depth < 0.2, 3, bar.long()))[:, 0]
    return F.one_hot(kinds, len(KINDS)).permute(0, 3, 1, 2).float()


def depth_maps(scenes: Scenes) -> Tensor:
    """How far what a pixel shows is away.

    Args:
        scenes: n scenes.

    Returns:
        (n, 1, h, w) in [0, 1].
    """
    return scenes.depth


# ---------------------------------------------------------------- measures


def intersection_over_union(found: Tensor, wanted: Tensor) -> float:
    """The mean over classes of ``|A and B| / |A or B|``, counted over all pixels of all maps together.

    Args:
        found: (n, c, h, w); the class of a pixel is its largest channel.
        wanted: (n, c, h, w), read alike.

    Returns:
        In [0, 1]; a class that neither map has does not count.
    """
    a, b = (F.one_hot(maps.argmax(1), maps.shape[1]).flatten(0, 2).bool() for maps in (found, wanted))  # (n h w, c)
    both, either = (a & b).sum(0), (a | b).sum(0)
    return float((both[either > 0] / either[either > 0]).mean())


def pieces(maps: Tensor) -> float:
    """The mean number of connected regions of one class; pixels connect by their sides.

    Args:
        maps: (n, c, h, w); the class of a pixel is its largest channel.

    Returns:
        At least 1.
    """
    import scipy.ndimage

    labels = maps.argmax(1).cpu().numpy()
    return float(np.mean([sum(scipy.ndimage.label(one == c)[1] for c in np.unique(one)) for one in labels]))


def edge_error(found: Tensor, wanted: Tensor, masks: Tensor) -> float:
    """Mean difference of the Sobel magnitudes near the borders of objects.

    Args:
        found: (n, c, h, w), the prediction.
        wanted: (n, c, h, w), what it should be.
        masks: (n, 1, h, w) bool, where the objects are.

    Returns:
        At least 0, in units of the map per pixel.
    """
    x = masks.float()
    near = F.max_pool2d(x, 2 * BORDER + 1, 1, BORDER) + F.max_pool2d(-x, 2 * BORDER + 1, 1, BORDER) > 0
    difference = (_edges(found) - _edges(wanted)).abs().mean(1, keepdim=True)
    return float(difference[near].mean())


def _edges(x: Tensor) -> Tensor:
    """The Sobel magnitude of each channel, (n, c, h, w); a ramp of one a pixel has one."""
    kernel = x.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    kernels = torch.stack([kernel, kernel.T])[:, None].repeat(x.shape[1], 1, 1, 1)  # (2 c, 1, 3, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    steps: Tensor = F.conv2d(padded, kernels, groups=x.shape[1]).unflatten(1, (-1, 2))
    magnitudes: Tensor = torch.linalg.vector_norm(steps, dim=2)
    return magnitudes


def _segmentation(found: Tensor, scenes: Scenes) -> dict[str, float]:
    return {"mIoU": intersection_over_union(found, kind_maps(scenes)), "pieces": pieces(found)}


def _depth(found: Tensor, scenes: Scenes) -> dict[str, float]:
    rmse = float((found - scenes.depth).square().mean().sqrt())
    return {"RMSE": rmse, "edge error": edge_error(found, scenes.depth, scenes.masks)}


def _sharpness(found: Tensor, scenes: Scenes) -> dict[str, float]:
    from skimage.metrics import structural_similarity

    pairs = zip(found.cpu().numpy(), scenes.images.cpu().numpy(), strict=True)
    ssim = [structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]
    edges = edge_error(found, scenes.images, scenes.masks)
    return {"edge error": edges, "PSNR": float(psnr(found, scenes.images).mean()), "SSIM": float(np.mean(ssim))}


def _softmax(y: Tensor) -> Tensor:
    return y.softmax(1)


def _itself(y: Tensor) -> Tensor:
    return y


#: The three tasks, by name.
TASKS = {
    "segmentation": Task(
        images,
        kind_maps,
        lambda: UNet(len(KINDS)),
        F.cross_entropy,
        _softmax,
        _segmentation,
        {"mIoU": True, "pieces": False},
    ),
    "depth": Task(
        images, depth_maps, lambda: UNet(1), F.l1_loss, _itself, _depth, {"RMSE": False, "edge error": False}
    ),
    "super-resolution": Task(
        halved,
        images,
        Upscaler,
        F.l1_loss,
        _itself,
        _sharpness,
        {"edge error": False, "PSNR": True, "SSIM": True},
    ),
}
