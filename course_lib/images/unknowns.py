"""The unknown image, and transforms.

An image gives (n, 3, h, w) in [0, 1] when called, and project() brings it back into its set after each step.
A transform takes a picture and a torch.Generator and gives a picture of the same size.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_pictures, require

# (pixels (n, 3, h, w), their last gradient, number of the step) -> pixels
Prior = Callable[[Tensor, Tensor, int], Tensor]


class Image(nn.Module):
    """What every unknown image is: a module without inputs whose parameters are sought."""

    def forward(self) -> Tensor:
        raise NotImplementedError

    def project(self) -> None:
        """Bring the picture back into its set; nothing to do where its coordinates cannot leave it."""


class Pixels(Image):
    """The picture itself: every pixel is a parameter.

    start: (n, 3, h, w) in [0, 1]. project() applies the priors in turn, then keeps the picture within `radius` of the
    start in every pixel (the L-infinity ball of adversarial examples) if one is given, and in [0, 1].
    """

    def __init__(self, start: Tensor, radius: float | None = None, *, priors: Sequence[Prior] = ()):
        super().__init__()
        check_pictures(start)
        require(radius is None or radius >= 0, f"radius must be at least 0, got {radius}")
        self.pixels = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.radius, self.priors, self.step = radius, priors, 0
        if radius is not None:
            self.register_buffer("start", start.detach().clone())

    def forward(self) -> Tensor:
        return self.pixels

    @torch.no_grad()
    def project(self) -> None:
        self.step += 1
        for prior in self.priors:
            if self.pixels.grad is not None:
                self.pixels.copy_(prior(self.pixels, self.pixels.grad, self.step))
        if self.radius is not None:
            start = self.get_buffer("start")
            self.pixels.copy_(self.pixels.clamp(start - self.radius, start + self.radius))
        self.pixels.clamp_(0, 1)


def grey(height: int, width: int, n: int = 1) -> Tensor:
    """The zero image: mid grey (n, 3, height, width)."""
    return torch.full((n, 3, height, width), 0.5)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures (n, c, h, w) at another size (height, width): bilinear, and averaged where they shrink."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)


# ---------------------------------------------------------------- priors of Yosinski et al. 2015, after each step


def blur(sigma: float, every: int = 4) -> Prior:
    """Gaussian blur of `sigma` pixels at every so many steps: high frequencies must be earned again and again."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        if step % every:
            return pixels
        k = kernel.to(pixels).expand(3, 1, 1, -1)
        padded = F.pad(pixels, (reach,) * 4, mode="reflect")
        return F.conv2d(F.conv2d(padded, k, groups=3), k.mT, groups=3)

    return apply


def _erase_smallest(pixels: Tensor, size: Tensor, percent: float) -> Tensor:
    """Grey where `size` (n, 1, h, w) is among the lowest `percent` of its picture."""
    limit = size.flatten(1).quantile(percent / 100, dim=1)[:, None, None, None]
    return torch.where(size < limit, 0.5, pixels)


def clip_small_norm(percent: float) -> Prior:
    """Set the `percent` of pixels that are nearest to grey, by their RGB norm, to grey."""
    return lambda pixels, gradient, step: _erase_smallest(pixels, (pixels - 0.5).norm(dim=1, keepdim=True), percent)


def clip_small_contribution(percent: float) -> Prior:
    """Set the `percent` of pixels to grey whose contribution |sum over RGB of x * dE/dx| is smallest."""

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        return _erase_smallest(pixels, ((pixels - 0.5) * gradient).sum(1, keepdim=True).abs(), percent)

    return apply


def bounded_range(limit: float = 160 / 255) -> Prior:
    """Keep each pixel's RGB norm about mid grey at or below `limit`: x <- 1/2 + (x - 1/2) min(1, limit / |x - 1/2|).

    The hard bound B+ of Mahendran and Vedaldi 2016, 160 of 255 there. The corners of the range are 0.87 from grey.
    """
    require(limit > 0, f"limit must be above 0, got {limit}")

    def apply(pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        offset = pixels - 0.5
        return 0.5 + offset * (limit / offset.norm(dim=1, keepdim=True).clamp(min=limit))

    return apply


# ---------------------------------------------------------------- other coordinates


class Unbounded(Image):
    """Pixels as real numbers: x = sigmoid(z), every z a parameter. Nothing is clipped, so a line search can trust it.

    start: (n, 3, h, w) in [0, 1], which is met to 1/256: black and white themselves lie at infinity.
    """

    def __init__(self, start: Tensor):
        super().__init__()
        check_pictures(start)
        self.logits = nn.Parameter(start.detach().logit(1 / 256).contiguous())

    def forward(self) -> Tensor:
        return self.logits.sigmoid()


class Fourier(Image):
    """A picture by its Fourier coefficients, with colours decorrelated (Olah 2017).

    x = sigmoid( C irfft2( sqrt(h w) s / max(f, 1 / max(h, w))^decay ) ): the same step moves every frequency as natural
    pictures would (1/f for decay 1), and C turns three independent channels into the correlated R, G, B of photographs.
    Starts as faint noise around grey. Periodic: the left border meets the right.
    The constants are those of Olah's code (Lucid), but for its division by 4 before the sigmoid, which made whites and
    blacks slow to reach.
    """

    # Lucid's square root of the covariance of ImageNet's colours, over its largest column norm
    COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])

    def __init__(self, height: int, width: int, n: int = 1, decay: float = 1.0, seed: int = 0):
        super().__init__()
        require(min(height, width, n) >= 1, f"height, width and n must be at least 1, got {height}, {width}, {n}")
        generator = torch.Generator().manual_seed(seed)
        start = 0.01 * torch.randn(n, 3, height, width // 2 + 1, 2, generator=generator)
        self.spectrum = nn.Parameter(start)  # (n, 3, height, width // 2 + 1, real and imaginary)
        frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2).sqrt()
        scale = (height * width) ** 0.5 / frequency.clamp(min=1 / max(height, width)) ** decay
        self.register_buffer("scale", scale[..., None])
        self.register_buffer("colours", self.COLOURS / self.COLOURS.norm(dim=0).max())
        self.size = height, width

    def forward(self) -> Tensor:
        return self.logits().sigmoid()

    def logits(self) -> Tensor:
        """The picture before the sigmoid, any real number."""
        coefficients = torch.view_as_complex(self.spectrum * self.get_buffer("scale"))
        channels = torch.fft.irfft2(coefficients, s=self.size)
        return torch.einsum("rc,nchw->nrhw", self.get_buffer("colours"), channels)


class Centred(Image):
    """A start that changes fast in its centre and slowly at its border (the centre bias of Nguyen 2016).

    x = sigmoid( logit(start) + m z ), m = exp(-r^2 / (2 sigma^2)), r the distance from the centre in half sides, z the
    real numbers behind Fourier coordinates. The bump m stands in the coordinates and not on the gradient, as in the
    source: a mask on the gradient is undone by Adam, which divides each gradient by its own size.

    start: (n, 3, h, w) in [0, 1]; z starts as faint noise from the seed. Raises ValueError for sigma <= 0.
    """

    def __init__(self, start: Tensor, sigma: float = 0.5, *, seed: int = 0):
        super().__init__()
        check_pictures(start)
        require(sigma > 0, f"sigma must be above 0, got {sigma}")
        n, _, height, width = start.shape
        self.change = Fourier(height, width, n, seed=seed)
        y, x = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
        self.register_buffer("start", start.detach().logit(0.01))
        self.register_buffer("bump", torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2)))

    def forward(self) -> Tensor:
        return (self.get_buffer("start") + self.get_buffer("bump") * self.change.logits()).sigmoid()


class Latent(Image):
    """A picture made by a generator from a code: generator(code) (Nguyen 2016).

    low, high: the range to which project() clips the code, for example the range that the generator was trained on.
    """

    def __init__(
        self,
        generator: nn.Module,
        code: Tensor,
        *,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
    ):
        super().__init__()
        self.generator = generator.requires_grad_(False).eval()
        self.code = nn.Parameter(code.detach().clone())
        self.low, self.high = low, high

    def forward(self) -> Tensor:
        return self.generator(self.code)

    @torch.no_grad()
    def project(self) -> None:
        if self.low is not None:
            self.code.copy_(self.code.clamp(min=torch.as_tensor(self.low).to(self.code)))
        if self.high is not None:
            self.code.copy_(self.code.clamp(max=torch.as_tensor(self.high).to(self.code)))


# ---------------------------------------------------------------- transforms


class Transform:
    """A random change of a picture, drawn from a torch.Generator: transform(x, generator) -> x of the same size."""

    def __init__(self, name: str, function: Callable[[Tensor, torch.Generator], Tensor]):
        self.name, self.function = name, function

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.function(x, generator)

    def __repr__(self) -> str:
        return self.name


def jitter(pixels: int) -> Transform:
    """Shift by up to `pixels` each way; what leaves on one side returns on the other (Mordvintsev 2015)."""
    require(pixels >= 0, f"jitter takes a number of pixels >= 0, got {pixels}")

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        shift = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
        return x.roll(shift, dims=(2, 3))

    return Transform(f"jitter({pixels})", function)


def scale(low: float, high: float) -> Transform:
    """Zoom about the centre by a factor drawn from [low, high]; what comes in at the border is a reflection."""
    require(0 < low <= high, f"scale takes 0 < low <= high, got {low} and {high}")

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        factor = low + (high - low) * float(torch.rand((), generator=generator))
        return _warp(x, [[1 / factor, 0.0], [0.0, 1 / factor]])

    return Transform(f"scale({low:g}, {high:g})", function)


def rotate(degrees: float) -> Transform:
    """Turn about the centre by up to `degrees` either way; what comes in at the corners is a reflection."""

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        angle = math.radians(degrees * (2 * float(torch.rand((), generator=generator)) - 1))
        aspect = x.shape[2] / x.shape[3]
        cos, sin = math.cos(angle), math.sin(angle)
        return _warp(x, [[cos, -sin * aspect], [sin / aspect, cos]])

    return Transform(f"rotate({degrees:g})", function)


def _warp(x: Tensor, matrix: list[list[float]]) -> Tensor:
    """Sample x where the 2 x 2 matrix sends each place (in coordinates from -1 to 1), bilinearly."""
    theta = torch.tensor([[*row, 0.0] for row in matrix]).to(x).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def compose(*transforms: Transform) -> Transform:
    """One transform after the other."""

    def function(x: Tensor, generator: torch.Generator) -> Tensor:
        for transform in transforms:
            x = transform(x, generator)
        return x

    return Transform(f"compose({', '.join(map(repr, transforms))})", function)
