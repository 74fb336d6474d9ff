"""The unknown image: a module whose parameters are sought."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.images.priors import Prior
from course_lib.inputs import check_images


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
        check_images(start)
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


class Unbounded(Image):
    """Pixels as real numbers: x = sigmoid(z), every z a parameter. Nothing is clipped, so a line search can trust it.

    start: (n, 3, h, w) in [0, 1], which is met to 1/256: black and white themselves lie at infinity.
    """

    def __init__(self, start: Tensor):
        super().__init__()
        check_images(start)
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
        check_images(start)
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
