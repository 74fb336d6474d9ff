"""The unknown image: a module whose parameters are sought."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.images.priors import Prior
from course_lib.inputs import check_images, count, evaluation, number, plain, tensor

# Parameters made in inference mode could never be sought, so every unknown leaves it while it is made.
_outside_inference_mode = torch.inference_mode(False)


class Image(nn.Module):
    """What every unknown image is: a module without inputs whose parameters are sought."""

    def forward(self) -> Tensor:
        """The image as it is now.

        Returns:
            (n, 3, h, w) in [0, 1].
        """
        raise NotImplementedError

    def project(self) -> None:
        """Bring the image back into its set after a step; nothing to do where its coordinates cannot leave it."""


class Pixels(Image):
    """The image itself: every pixel is a parameter.

    Args:
        start: The initial image, (n, 3, h, w) in [0, 1]; it is copied.
        radius: If given, no colour value moves further than this from the initial image (the L-infinity ball of
            adversarial examples); at least 0.
        priors: What `project` applies in turn after each step, such as `blur`.

    Attributes:
        pixels: The parameter, (n, 3, h, w).
        radius: The same.
        priors: The same.
        step: How often `project` has run.

    Raises:
        TypeError: An initial image that is no floating tensor, or a radius that is no number.
        ValueError: An initial image of another shape or range, or a radius below 0.

    Example:
        >>> image = Pixels(grey(4, 4), radius=0.1)
        >>> image.pixels.data += 1
        >>> image.project()
        >>> round(image().max().item(), 4)
        0.6
    """

    @_outside_inference_mode
    def __init__(self, start: Tensor, radius: float | None = None, *, priors: Sequence[Prior] = ()):
        super().__init__()
        check_images(start)
        self.pixels = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.radius = None if radius is None else number(radius, "radius", 0)
        self.priors, self.step = priors, 0
        if radius is not None:
            self.register_buffer("start", start.detach().clone())

    def forward(self) -> Tensor:
        """The pixels."""
        return self.pixels

    @torch.no_grad()
    def project(self) -> None:
        """Apply the priors, then bring every colour value into the radius, if there is one, and into [0, 1]."""
        self.step += 1
        for prior in self.priors:
            if self.pixels.grad is not None:
                self.pixels.copy_(prior(self.pixels, self.pixels.grad, self.step))
        if self.radius is not None:
            start = self.get_buffer("start")
            self.pixels.copy_(self.pixels.clamp(start - self.radius, start + self.radius))
        self.pixels.clamp_(0, 1)


def grey(height: int, width: int, n: int = 1) -> Tensor:
    """Mid grey, the zero image.

    Args:
        height: In pixels, at least 1.
        width: In pixels, at least 1.
        n: Number of images, at least 1.

    Returns:
        (n, 3, height, width), 0.5 everywhere.

    Raises:
        TypeError: Not whole numbers.
        ValueError: Less than 1.
    """
    return torch.full((count(n, "n"), 3, count(height, "height"), count(width, "width")), 0.5)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Images at another size: bilinear, and averaged where they shrink.

    Args:
        x: (n, c, h, w), floating.
        size: (height, width), at least 1 each.

    Returns:
        (n, c, height, width), in the dtype of x.

    Raises:
        TypeError: A size that is not of whole numbers.
        ValueError: x has another number of dimensions, or the size is not two numbers of at least 1.

    Example:
        >>> resize(grey(8, 8), (4, 6)).shape
        torch.Size([1, 3, 4, 6])
    """
    require(x.dim() == 4, f"images have shape (n, c, h, w), got {tuple(x.shape)}")
    require(len(size) == 2, f"a size is (height, width), got {tuple(size)}")
    height, width = count(size[0], "height"), count(size[1], "width")
    exact = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision cannot be averaged
    return F.interpolate(exact, size=(height, width), mode="bilinear", align_corners=False, antialias=True).to(x.dtype)


class Unbounded(Image):
    """Pixels as real numbers: ``x = sigmoid(z)``, every z a parameter. As nothing is clipped, line searches work.

    Args:
        start: The initial image, (n, 3, h, w) in [0, 1]. It is met to 1/256, for black and white
            themselves lie at infinity.

    Attributes:
        logits: The parameter z, (n, 3, h, w).

    Raises:
        TypeError: Not a floating tensor.
        ValueError: Another shape or range.
    """

    @_outside_inference_mode
    def __init__(self, start: Tensor):
        super().__init__()
        check_images(start)
        self.logits = nn.Parameter(start.detach().logit(1 / 256).contiguous())

    def forward(self) -> Tensor:
        """The image ``sigmoid(z)``."""
        return self.logits.sigmoid()


class Fourier(Image):
    """An image by its Fourier coefficients, with colours decorrelated.

    ``x = sigmoid( C irfft2( sqrt(h w) s / max(f, 1 / max(h, w))^decay ) )``: the same step moves every frequency as
    natural images would (1/f for decay 1), and C turns three independent channels into the correlated R, G, B of
    photographs. The initial image is faint noise around grey. Periodic: the left border meets the right.

    Args:
        height: In pixels, at least 1.
        width: In pixels, at least 1.
        n: Number of images, at least 1.
        decay: Exponent of the frequency: 0 weighs all alike, larger values make smoother images.
        seed: Of the noise.

    Attributes:
        spectrum: The parameter s, (n, 3, height, width // 2 + 1, 2), real and imaginary parts.
        size: (height, width).
        COLOURS: Lucid's square root of the covariance of ImageNet's colours, from which C comes.

    Raises:
        TypeError: Sizes that are no whole numbers, or a decay that is no number.
        ValueError: Sizes below 1, or a decay that is not finite.

    Source: Olah 2017; the constants are those of its code (Lucid). Deviation: without Lucid's division by 4 before the
    sigmoid, which made whites and blacks slow to reach.

    Example:
        >>> image = Fourier(48, 64, n=2)
        >>> image().shape, round(image().mean().item(), 2)
        (torch.Size([2, 3, 48, 64]), 0.5)
    """

    # C is this matrix over its largest column norm
    COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])

    @_outside_inference_mode
    def __init__(self, height: int, width: int, n: int = 1, decay: float = 1.0, seed: int = 0):
        super().__init__()
        height, width, n = count(height, "height"), count(width, "width"), count(n, "n")
        generator = torch.Generator().manual_seed(seed)
        self.spectrum = nn.Parameter(0.01 * torch.randn(n, 3, height, width // 2 + 1, 2, generator=generator))
        frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2).sqrt()
        scale = (height * width) ** 0.5 / frequency.clamp(min=1 / max(height, width)) ** number(decay, "decay")
        self.register_buffer("scale", scale[..., None])
        self.register_buffer("colours", self.COLOURS / self.COLOURS.norm(dim=0).max())
        self.size = height, width

    def forward(self) -> Tensor:
        """The image."""
        return self.logits().sigmoid()

    def logits(self) -> Tensor:
        """The image before the sigmoid.

        Returns:
            (n, 3, height, width), any real numbers.
        """
        coefficients = torch.view_as_complex(self.spectrum * self.get_buffer("scale"))
        channels = torch.fft.irfft2(coefficients, s=self.size)
        return torch.einsum("rc,nchw->nrhw", self.get_buffer("colours"), channels)


class Phase(Image):
    """An image whose Fourier phases are sought, while the magnitudes stay those of photographs.

    ``x = sigmoid( 4 C irfft2( m e^(ip) ) )``, m the magnitudes, p the phases. In photographs m falls as a power of the
    frequency, ``m = a / f^decay``, and 0 at f = 0; a gives the three channels the deviation `contrast`. C C^T is
    the covariance of the colours of photographs, so with contrast 1 the image has theirs. Around mid grey
    ``sigmoid(4 z)`` is ``1/2 + z``.

    No step can add contrast or fine grain. It can only bring waves together where they make an edge, or apart. The
    initial phases are random. Periodic: the left border meets the right.

    Args:
        height: In pixels, at least 1.
        width: In pixels, at least 1.
        n: Number of images, at least 1.
        magnitude: m instead of that law, floating, finite and at least 0: ``torch.fft.rfft2(y).abs()`` of three
            channels y, (3, height, width // 2 + 1), or of each image, with a leading n. By default `contrast` times
            `magnitudes`.
        decay: Exponent of the law: larger values make smoother images, which take more steps. The six photographs of
            `data.photographs` have 1.2 to 1.5.
        contrast: Factor of the law, at least 0; 1 is the contrast of photographs, less takes fewer steps.
        seed: Of the phases.

    Attributes:
        phase: The parameter p, (n, 3, height, width // 2 + 1), in radians. In the first column, and in the last of an
            even width, each coefficient has a mirror image, and what counts is the difference of their phases.
        size: (height, width).
        COLOURS: C, Lucid's square root of the covariance of ImageNet's colours.

    Raises:
        TypeError: Sizes that are no whole numbers, a decay or a contrast that is no number, or a magnitude that is no
            floating tensor.
        ValueError: Sizes below 1, a decay that is not finite, a contrast below 0, and a magnitude of another shape, not
            finite or below 0.

    Source: Fel 2023 (MACO). Deviation: he takes the mean magnitudes of ImageNet's photographs, here they follow the
    law, which holds at any size; his mean colour and his noise in each step are left out.

    Example:
        >>> image = Phase(48, 64, n=2)
        >>> image().shape, round(image().mean().item(), 1)
        (torch.Size([2, 3, 48, 64]), 0.5)
    """

    COLOURS = Fourier.COLOURS

    @_outside_inference_mode
    def __init__(
        self,
        height: int,
        width: int,
        n: int = 1,
        magnitude: Tensor | None = None,
        *,
        decay: float = 1.2,
        contrast: float = 0.5,
        seed: int = 0,
    ):
        super().__init__()
        height, width, n = count(height, "height"), count(width, "width"), count(n, "n")
        generator = torch.Generator().manual_seed(seed)
        self.phase = nn.Parameter(2 * torch.pi * torch.rand(n, 3, height, width // 2 + 1, generator=generator))
        law = number(contrast, "contrast", 0) * magnitudes(height, width, decay).expand(3, -1, -1)
        given = law if magnitude is None else _magnitude(magnitude)
        fits = tuple(given.shape) in (tuple(self.phase.shape), tuple(self.phase.shape[1:]))
        require(fits, f"magnitudes have shape {tuple(self.phase.shape[1:])}, got {tuple(given.shape)}")
        self.register_buffer("magnitude", given.clone())
        self.register_buffer("colours", self.COLOURS.clone())
        self.size = height, width

    def forward(self) -> Tensor:
        """The image."""
        coloured: Tensor = torch.einsum("rc,nchw->nrhw", self.get_buffer("colours"), self.channels())
        return (4 * coloured).sigmoid()

    def channels(self) -> Tensor:
        """The three channels before the colours: real numbers whose magnitudes are the given ones.

        Returns:
            (n, 3, height, width), in the mean 0.
        """
        first, inner = _mirrored(self.phase[..., :1]), self.phase[..., 1:]
        if self.size[1] % 2 == 0:
            inner = torch.cat([inner[..., :-1], _mirrored(inner[..., -1:])], -1)
        phase = torch.cat([first, inner], -1)
        spectrum = torch.polar(self.get_buffer("magnitude").expand_as(phase), phase)
        channels: Tensor = torch.fft.irfft2(spectrum, s=self.size)
        return channels


def _mirrored(column: Tensor) -> Tensor:
    """Phases (n, 3, h, 1) of real numbers: opposite frequencies have opposite ones."""
    return column - column.flip(2).roll(1, 2)


def _magnitude(given: Tensor) -> Tensor:
    if not isinstance(given, Tensor) or not given.is_floating_point():
        raise TypeError(f"a magnitude is a floating tensor, got {getattr(given, 'dtype', type(given).__name__)}")
    require(bool(given.isfinite().all()) and bool((given >= 0).all()), "magnitudes are finite and at least 0")
    return given.detach()


def magnitudes(height: int, width: int, decay: float = 1.2) -> Tensor:
    """Magnitudes that fall as those of photographs: ``m = a / f^decay``, f the frequency in cycles a pixel.

    Args:
        height: In pixels, at least 1.
        width: In pixels, at least 1.
        decay: The exponent.

    Returns:
        (height, width // 2 + 1), of real numbers (height, width) with mean 0 and variance 1, as `torch.fft.rfft2` gives
        them.

    Raises:
        TypeError: Sizes that are no whole numbers, or a decay that is no number.
        ValueError: Sizes below 1, or a decay that is not finite.

    Source: Field 1987, who found the exponent near 1 in photographs.

    Example:
        >>> magnitudes(4, 4).shape
        torch.Size([4, 3])
    """
    height, width, decay = count(height, "height"), count(width, "width"), number(decay, "decay")
    frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2).sqrt()
    law = torch.where(frequency > 0, frequency.clamp(min=1 / max(height, width)) ** -decay, 0.0)
    twice = torch.full((width // 2 + 1,), 2.0)  # each inner column stands for its mirror image too
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    variance = (twice * law.square()).sum() / (height * width) ** 2  # Parseval
    return law / variance.sqrt().clamp(min=torch.finfo(law.dtype).tiny)


class Centred(Image):
    """An initial image that changes fast in its centre and slowly at its border (a centre bias).

    ``x = sigmoid( logit(start) + m z )``, ``m = exp(-r^2 / (2 sigma^2))``, r the distance from the centre in half
    sides, z the real numbers behind Fourier coordinates.

    Args:
        start: The initial image, (n, 3, h, w) in [0, 1]; it is met to 1/100, for black and white lie at infinity.
        sigma: Width of the centre in half sides, above 0.
        seed: z is faint noise at first, drawn from it.

    Attributes:
        change: z, a `Fourier`.

    Raises:
        TypeError: An initial image that is no floating tensor, or a sigma that is no number.
        ValueError: An initial image of another shape or range, or sigma not above 0.

    Source: Nguyen 2016, the center bias. Deviation: the bump m stands in the coordinates and not on the gradient, where
    Adam would undo it, since it divides each gradient by its own size.
    """

    @_outside_inference_mode
    def __init__(self, start: Tensor, sigma: float = 0.5, *, seed: int = 0):
        super().__init__()
        check_images(start)
        sigma = number(sigma, "sigma", 0, low_is_in=False)
        n, _, height, width = start.shape
        self.change = Fourier(height, width, n, seed=seed)
        y, x = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
        self.register_buffer("start", start.detach().logit(0.01))
        self.register_buffer("bump", torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2)))

    def forward(self) -> Tensor:
        """The image."""
        return (self.get_buffer("start") + self.get_buffer("bump") * self.change.logits()).sigmoid()


class Latent(Image):
    """An image made by a generator from a code: ``x = generator(code)``.

    Args:
        generator: From codes (n, ...) to images (n, 3, h, w) in [0, 1]. It stays yours: it is evaluated while it runs,
            and neither its modes nor its weights change.
        code: The initial code, floating; it is copied.
        low: Lower end of the range to which `project` clips the code, for example of the codes that the generator was
            trained on: a number, or a tensor that goes with the code. None is no end.
        high: Upper end of that range.

    Attributes:
        code: The parameter.
        generator: The same.
        low: The same.
        high: The same.

    Raises:
        TypeError: The generator is no module, the code no floating tensor, or an end no number.
        ValueError: A code that is not finite, a lower end above the upper one, or a generator that was made in
            inference mode, through which nothing can be differentiated.

    Source: Nguyen 2016.

    Example:
        >>> image = Latent(nn.Sigmoid(), torch.zeros(1, 3, 2, 2), high=0.0)
        >>> image().detach().unique()
        tensor([0.5000])
    """

    generator: nn.Module

    @_outside_inference_mode
    def __init__(
        self,
        generator: nn.Module,
        code: Tensor,
        *,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
    ):
        super().__init__()
        if not isinstance(generator, nn.Module):
            raise TypeError(f"a generator is a torch.nn.Module, got {type(generator).__name__}")
        if not isinstance(code, Tensor) or not code.is_floating_point():
            raise TypeError(f"a code is a floating tensor, got {getattr(code, 'dtype', type(code).__name__)}")
        require(bool(code.detach().isfinite().all()), "the code holds values that are not finite")
        require(
            not any(parameter.is_inference() for parameter in generator.parameters()),
            "the generator was made under torch.inference_mode, so nothing can be differentiated through it; "
            "make it outside, or deepcopy it there",
        )
        vars(self)["generator"] = generator  # not as a part: its weights are not sought
        self.code = nn.Parameter(code.detach().clone())
        self.low, self.high = _end(low, "low"), _end(high, "high")
        if self.low is not None and self.high is not None:
            require(bool((self.low <= self.high).all()), "low is above high")

    def forward(self) -> Tensor:
        """The image that the generator makes of the code."""
        with evaluation(self.generator):
            return tensor(self.generator(self.code), "the generator")

    @torch.no_grad()
    def project(self) -> None:
        """Clip the code to its range."""
        if self.low is not None:
            self.code.copy_(self.code.clamp(min=self.low.to(self.code)))
        if self.high is not None:
            self.code.copy_(self.code.clamp(max=self.high.to(self.code)))


def _end(value: Tensor | float | None, what: str) -> Tensor | None:
    """One end of the range of a code."""
    return plain(value) if isinstance(value, Tensor) else None if value is None else torch.tensor(number(value, what))
