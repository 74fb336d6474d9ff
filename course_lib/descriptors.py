"""HOG and dense SIFT as differentiable modules.

Both are small convolutional networks with fixed filters: differences of neighbouring pixels, a bin of orientation for
each pixel, a tent-shaped pooling, and a normalisation (Mahendran and Vedaldi 2015). So they invert, match
and caricature like any other network. Where an image is constant there is no orientation and the gradient is zero: the
initial image of a descent must have some structure; faint noise will do.
"""

import cmath
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.inputs import check_images, whole

__all__ = ["HOG", "DenseSIFT", "glyphs", "luma", "straight_through"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue
CLAMP = 0.2  # no bin may hold more of its block than this: Lowe 2004, and all who followed
HOG_DIRECTIONS = 18
SIFT_DIRECTIONS, SIFT_BINS = 8, 4
STEEPNESS = 8.0  # of the soft assignment that stands in for the hard one, in straight_through
SIFT_WINDOW = 1.5  # standard deviation of the window over a descriptor, in bins (Mahendran and Vedaldi's; Lowe's is 2)


class HOG(nn.Module):
    """Histograms of oriented gradients: the norms of the gradients of a cell's pixels, by their directions.

    Each pixel adds ``|g|`` to the bin of its gradient g, and bilinearly to the nearest four cells: d[k] in each cell.
    Channels 0-17 are directed, at 20 k degrees from right to down; 18-26 undirected, u[k] = d[k] + d[k + 9]. Each is::

        1/2 sum over b of min(0.2, d / sqrt(1e-4 + |u in b|^2)),  b the four blocks of 2 x 2 cells around the cell.

    The colour with the steepest gradient counts, the border pixels have none, and blocks at the border repeat their
    outer cells, all as in VLFeat's vl_hog (variant UoCTTI), which hard bins and those of `vlfeat` equal up to rounding,
    at the border too; a last cell that is at least half inside counts, so sides are rounded to the nearest multiple.
    A mirrored image gives permuted channels, but for hard bins where g points straight up or down, which lies on the
    edge of two bins.

    Called with images (n, 3, h, w) in [0, 1], it outputs (n, 27, h / cell, w / cell) in [0, 0.4], or with `texture`
    (n, 31, ...) in [0, 0.43]. Values somewhat outside [0, 1] are let pass, since a line search strays.

    Args:
        cell: Side of a cell in pixels, at least 2.
        bilinear: Share ``|g|`` between the two nearest directions instead of giving it all to one, which is not
            continuous (the gradient exists, but a line search stumbles).
        texture: Append four channels, the sums over k of the clamped u[k] in each block, divided by sqrt(18).
        clamp: The 0.2 of the formula; `math.inf` leaves it out, for a descent: a bin that is above it in all four
            blocks has no gradient.
        vlfeat: Take the arc cosine of `bilinear` in single precision, as vl_hog does: up to 1e-3 of a pixel's ``|g|``
            moves to another bin. Its gradient stays that of the exact angle.

    Raises:
        TypeError: A cell that is no whole number; images that are no floating tensor.
        ValueError: cell < 2; images of another shape or scale, with NaN, or with a side shorter than two cells.

    Source: Dalal and Triggs 2005; Felzenszwalb 2010 (the blocks); Mahendran and Vedaldi 2015 (the bins).

    Example:
        >>> HOG(cell=8)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 27, 8, 12])
    """

    def __init__(
        self,
        cell: int = 8,
        bilinear: bool = False,
        *,
        texture: bool = False,
        clamp: float = CLAMP,
        vlfeat: bool = False,
    ):
        super().__init__()
        cell = int(whole(cell, "cell"))
        require(cell >= 2, f"a cell has at least 2 pixels a side, got {cell}")
        self.cell, self.bilinear, self.texture, self.clamp, self.vlfeat = cell, bilinear, texture, clamp, vlfeat

    def forward(self, x: Tensor) -> Tensor:
        """The code of images.

        Args:
            x: (n, 3, h, w).

        Returns:
            (n, 27 or 31, h / cell, w / cell), of the dtype of x.
        """
        _check(x, 2 * self.cell, f"HOG of cell {self.cell}")
        return self._code(_precise(x)).to(x.dtype)

    def _code(self, x: Tensor) -> Tensor:
        """The code (n, 27 or 31, rows, columns) of images in single or double precision."""
        g = _steepest_colour(x[..., 1:-1, 2:] - x[..., 1:-1, :-2], x[..., 2:, 1:-1] - x[..., :-2, 1:-1])
        cells = self._pool(self._assign(g))  # (n, 18, h - 2, w - 2) -> (n, 18, rows, columns)
        return self._normalise(cells)

    def _assign(self, g: Tensor) -> Tensor:
        """|g| in the bins of its directions: (n, 1, h, w) -> (n, 18, h, w)."""
        if self.bilinear:
            return (_nearest_two_of_vlfeat if self.vlfeat else _nearest_two)(g, HOG_DIRECTIONS)
        return (_nearest_softly if _through.get() else _nearest)(g, HOG_DIRECTIONS)

    def _pool(self, bins: Tensor) -> Tensor:
        """Sum over each cell and its neighbours, with weights that fall from 1 at its centre to 0 at theirs."""
        tent = _tent(self.cell, 2 * self.cell - self.cell % 2)
        before = self.cell // 2 + 1  # half a cell, and the pixel of border without a gradient
        padding = []
        for side in (bins.shape[3] + 2, bins.shape[2] + 2):
            count = (side + self.cell // 2) // self.cell
            padding += [before, (count - 1) * self.cell + len(tent) - (before - 1) - side + 1]
        return _depthwise(F.pad(bins, padding), tent, self.cell)

    def _normalise(self, directed: Tensor) -> Tensor:
        """Directed bins (n, 18, rows, columns), and the undirected ones, over the norms of their blocks, clamped."""
        rows, columns = directed.shape[2:]
        undirected = directed[:, :9] + directed[:, 9:]
        energy = F.pad(undirected.square().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        factor = (4 * F.avg_pool2d(energy, 2, stride=1) + 1e-4).rsqrt()  # of each block: (n, 1, rows + 1, columns + 1)
        around = [factor[..., i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)]
        blocks = torch.stack(around, 1) * torch.cat([directed, undirected], 1)[:, None]  # (n, 4, 27, rows, columns)
        blocks = _clamp(blocks, self.clamp)
        code = blocks.sum(1) / 2
        return torch.cat([code, blocks[:, :, 18:].sum(2) / math.sqrt(18)], 1) if self.texture else code


class DenseSIFT(nn.Module):
    """SIFT at every crossing of a grid: histograms of oriented gradients in 4 x 4 bins around it.

    Each pixel of the grey image (`luma`) shares ``|g|`` between the nearest two of 8 directions, and bilinearly between
    the bins around it. Bins are `bin` pixels apart, the first at pixel 0, and 4 x 4 of them make a descriptor d,
    weighted by a Gaussian of 1.5 bins: ``min(0.2, d / |d|)``. Descriptors are one bin apart, so
    ``rows = (h - 1) // bin - 2``. Channel 32 i + 8 j + k is the bin in row i, column j, at 45 k degrees from right to
    down.

    Called with images (n, 3, h, w) in [0, 1], it outputs (n, 128, rows, columns) in [0, 0.2]. Values somewhat outside
    [0, 1] are let pass, since a line search strays.

    Args:
        bin: Distance of the bins in pixels, at least 1.
        vlfeat: As VLFeat's vl_dsift does (flat window, its size 1.5), which this then equals up to rounding: divide by
            the norm once more after the clamp, as Lowe 2004 too, so that values exceed 0.2, and take its approximate
            arc tangent. By default it stops at the clamp, as Mahendran and Vedaldi 2015 do, and angles are exact.

    Raises:
        TypeError: A bin that is no whole number; images that are no floating tensor.
        ValueError: bin < 1; images of another shape or scale, with NaN, or with a side shorter than 3 bin + 1.

    Source: Lowe 2004; Mahendran and Vedaldi 2015 (as a network).

    Example:
        >>> DenseSIFT(bin=5)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 128, 10, 17])
    """

    def __init__(self, bin: int = 5, *, vlfeat: bool = False):
        super().__init__()
        bin = int(whole(bin, "bin"))
        require(bin >= 1, f"a bin has at least 1 pixel a side, got {bin}")
        self.bin, self.vlfeat = bin, vlfeat

    def forward(self, x: Tensor) -> Tensor:
        """The descriptors of images.

        Args:
            x: (n, 3, h, w).

        Returns:
            (n, 128, rows, columns), of the dtype of x.
        """
        _check(x, (SIFT_BINS - 1) * self.bin + 1, f"dense SIFT of bin {self.bin}")
        return self._code(_precise(x)).to(x.dtype)

    def _code(self, x: Tensor) -> Tensor:
        """The descriptors (n, 128, rows, columns) of images in single or double precision."""
        grey = luma(x)[:, 0]
        down, right = torch.gradient(grey, dim=(1, 2))  # central differences, one-sided at the border
        reach = self.bin - 1
        angle = _quick_angle if self.vlfeat else torch.angle
        shares = _nearest_two(torch.complex(right, down)[:, None], SIFT_DIRECTIONS, angle)
        bins = F.pad(shares, (reach,) * 4, mode="replicate")
        grid = _depthwise(bins, _tent(self.bin, 2 * self.bin - 1), self.bin)  # (n, 8, rows + 3, columns + 3)
        code = _clamp(F.normalize(self._gather(grid), eps=1e-7), CLAMP)
        return F.normalize(code, eps=1e-7) if self.vlfeat else code

    def _gather(self, grid: Tensor) -> Tensor:
        """The 4 x 4 bins of each descriptor under the Gaussian: (n, 8, rows + 3, columns + 3) -> (n, 128, ...)."""
        rows, columns = grid.shape[2] - 3, grid.shape[3] - 3
        window = [self._window(i) for i in range(SIFT_BINS)]
        return torch.cat(
            [
                window[i] * window[j] * grid[..., i : i + rows, j : j + columns]
                for i in range(SIFT_BINS)
                for j in range(SIFT_BINS)
            ],
            1,
        )

    def _window(self, i: int) -> float:
        """The mean of the Gaussian over the pixels that bin i of a row reaches: VLFeat's fast form."""
        centre, reach = (i - (SIFT_BINS - 1) / 2) * self.bin, self.bin - 1
        positions = (centre + torch.arange(-reach, reach + 1)) / (self.bin * SIFT_WINDOW)
        return float(torch.exp(-0.5 * positions.square()).mean())


def glyphs(code: Tensor, side: int = 12) -> Tensor:
    """HOG drawn as edges.

    In each cell, nine bars at right angles to their gradient, as bright as their undirected channel (white is 0.4).

    Args:
        code: (n, 27 or 31, rows, columns), from a `HOG`.
        side: Of a drawn cell in pixels.

    Returns:
        (n, 1, rows * side, columns * side), 0 to 1 for what a HOG with its clamp outputs.

    Raises:
        ValueError: Not the code of a HOG.

    Example:
        >>> glyphs(HOG()(torch.rand(1, 3, 64, 96))).shape
        torch.Size([1, 1, 96, 144])
    """
    require(code.dim() == 4 and code.shape[1] in (27, 31), f"HOG is (n, 27 or 31, h, w), got {tuple(code.shape)}")
    along = torch.arange(side).to(code) - (side - 1) / 2
    normal = _directions(HOG_DIRECTIONS)[:9, None, None].to(code.device)
    across = (along * normal.real + along[:, None] * normal.imag).abs()  # (9, side, side)
    bars = (1 - across).clamp(min=0) * (along.square() + along[:, None].square() <= (side / 2) ** 2)
    cells = code[:, 18:27, :, None, :, None] * bars[:, None, :, None, :] / (2 * CLAMP)
    return cells.amax(1).flatten(1, 2).flatten(2, 3)[:, None]  # (n, rows, side, columns, side) -> (n, 1, ...)


def luma(x: Tensor) -> Tensor:
    """The brightness of an image as television weighs its colours: ``0.299 R + 0.587 G + 0.114 B``.

    Args:
        x: (n, 3, h, w).

    Returns:
        (n, 1, h, w), in the range of x.

    Source: ITU-R BT.601.

    Example:
        >>> luma(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).item()  # red
        0.29899999499320984
    """
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


# ---------------------------------------------------------------- gradients for a descent

_through: ContextVar[bool] = ContextVar("through", default=False)


@contextmanager
def straight_through() -> Iterator[None]:
    """HOG and DenseSIFT with gradients to descend by where their own are zero; what they output stays the same.

    Inside, ``min(d, 0.2)`` passes its gradient back above 0.2 too, so that a bin that is too full can come down again;
    and the hard assignment of HOG has the gradient of a soft one, ``sigmoid(8 (t - 1/2))`` for the upper of two
    neighbouring directions, t the angle from the lower in steps, so that a pixel can turn into another bin.
    These are not the derivatives: L-BFGS, which relies on them, stumbles; Adam does not.

    Source: the straight-through estimator of Bengio 2013.

    Example:
        >>> x, phi = torch.linspace(0, 1, 32).expand(1, 3, 32, 32).clone().requires_grad_(), HOG(bilinear=True)
        >>> with straight_through():
        ...     phi(x)[0, 0].sum().backward()  # the bin of this ramp is above 0.2 everywhere
        >>> bool(x.grad.abs().max() > 0)
        True
    """
    token = _through.set(True)
    try:
        yield
    finally:
        _through.reset(token)


def _clamp(d: Tensor, most: float) -> Tensor:
    """min(d, most), inside `straight_through` with the gradient of d."""
    clamped = d.clamp(max=most)
    return d + (clamped - d).detach() if _through.get() else clamped


def _nearest_softly(g: Tensor, count: int) -> Tensor:
    """`_nearest` with the gradient of a steep sigmoid in the angle: (n, 1, h, w) -> (n, count, h, w)."""
    turn = g.angle() * (count / (2 * math.pi))  # in steps
    below = turn.detach().floor()
    soft = torch.sigmoid(STEEPNESS * (turn - below - 0.5))
    return _share(g.abs(), below, soft + ((soft > 0.5).to(soft) - soft).detach(), count)


# ---------------------------------------------------------------- the layers


def _check(x: Tensor, least: int, what: str) -> None:
    check_images(x, -100, 100)  # a line search strays; what is refused is another scale, 0 to 255
    height, width = x.shape[2:]
    require(min(height, width) >= least, f"{what} needs images of at least {least} x {least}, got {height} x {width}")


def _precise(x: Tensor) -> Tensor:
    """Half precision as single, since there are no complex numbers of half precision to speak of."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _steepest_colour(right: Tensor, down: Tensor) -> Tensor:
    """At each pixel the longest of its three gradients, as right + i down: twice (n, 3, h, w) -> (n, 1, h, w)."""
    steepest = (right.square() + down.square()).max(1, keepdim=True).indices  # max is ten times as fast as argmax
    return torch.complex(right.gather(1, steepest), down.gather(1, steepest))


def _directions(count: int) -> Tensor:
    """Unit vectors all around, right + i down: (count,), the first to the right.

    Single precision, so that the two next to the vertical are equally near to it; the first then wins, as in VLFeat.
    """
    return torch.tensor([cmath.exp(2j * cmath.pi * k / count) for k in range(count)], dtype=torch.complex64)


def _nearest(g: Tensor, count: int) -> Tensor:
    """|g| in the bin of the nearest direction, 0 in the others: (n, 1, h, w) -> (n, count, h, w)."""
    half = _directions(count)[: count // 2, None, None].to(g.device)
    projections = g.real * half.real + g.imag * half.imag
    nearest = torch.cat([projections, -projections], 1).max(1, keepdim=True).indices
    bins = projections.new_zeros(len(g), count, *g.shape[2:])
    return bins.scatter(1, nearest, g.abs())


def _nearest_two(g: Tensor, count: int, angle: Callable[[Tensor], Tensor] = torch.angle) -> Tensor:
    """|g| max(0, 1 - a / step), a the angle between g and each direction: (n, 1, h, w) -> (n, count, h, w)."""
    turn = angle(g) * (count / (2 * math.pi))  # in steps
    below = turn.detach().floor()
    return _share(g.abs(), below, turn - below, count)


def _nearest_two_of_vlfeat(g: Tensor, count: int) -> Tensor:
    """`_nearest_two` by acos(projection / |g|) in single precision, rounded where vl_hog rounds; its gradient is exact.

    acos is steep at 1, so that what lies along a direction may seem to be 3.5e-4 away from it.
    """
    bins = _nearest_two(g, count)
    right, down = g.real.detach().float(), g.imag.detach().float()
    half = _directions(count)[: count // 2, None, None].to(g.device)
    projections = right * half.real + down * half.imag
    nearest = torch.sort(projections.abs(), dim=1, descending=True, stable=True)
    length = (right.square() + down.square()).double().sqrt().float()  # the root in floats is not always the nearest
    angle = (nearest.values[:, :1].double() / length.clamp(min=1e-10)).clamp(max=1).float().acos()
    share = (angle.double() * (count / (2 * math.pi))).float()
    directed = nearest.indices + (count // 2) * (projections.gather(1, nearest.indices) < 0)
    coarse = torch.zeros_like(bins).scatter(1, directed[:, :2], (length * torch.cat([1 - share, share], 1)).to(bins))
    return bins + (coarse - bins).detach()


def _quick_angle(g: Tensor) -> Tensor:
    """The angle of g by VLFeat's polynomial (vl_fast_atan2_f), wrong by up to 0.01."""
    x, y = g.real, g.imag.abs() + torch.finfo(torch.float32).eps
    r = torch.where(x >= 0, (x - y) / (x + y), (x + y) / (y - x))
    upper = torch.where(x >= 0, math.pi / 4, 3 * math.pi / 4) + (0.1821 * r.square() - 0.9675) * r
    return torch.where(g.imag < 0, -upper, upper)


def _share(length: Tensor, below: Tensor, share: Tensor, count: int) -> Tensor:
    """The lengths (n, 1, h, w) in the bins of direction `below` and the next, which gets a share: (n, count, h, w)."""
    lower = below.long() % count
    bins = length.new_zeros(len(length), count, *length.shape[2:])
    return bins.scatter(1, lower, length * (1 - share)).scatter(1, (lower + 1) % count, length * share)


def _tent(reach: int, size: int) -> Tensor:
    """`size` weights that fall by 1 / reach a pixel to both sides of the middle."""
    return 1 - (torch.arange(size) - (size - 1) / 2).abs() / reach


def _depthwise(maps: Tensor, weights: Tensor, stride: int) -> Tensor:
    """Each channel filtered by the same weights, down and across."""
    count = maps.shape[1]
    kernel = weights.to(maps).expand(count, 1, 1, -1)
    across = F.conv2d(maps, kernel, stride=(1, stride), groups=count)
    return F.conv2d(across, kernel.mT, stride=(stride, 1), groups=count)
