"""Patterns of waves as unknown images: small networks of sines, whose weights are sought."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.images import Image
from course_lib.inputs import count

WIDTH = 24  # units of each hidden layer
WAVES = (6.0, 6.0, 3.0)  # deviation of the first weights of x, y and 1: about as many half waves across the image
GAIN = 1.5


class Pattern(Image):
    """Images drawn by networks (x, y, 1) -> sin -> sin -> sin -> R, G, B, of 24 units a layer, without biases.

    The image is ``sigmoid(1.5 W4 sin(W3 sin(W2 sin(W1 (x, y, 1)))))``, x and y from -1 to 1, drawn at half the size and
    enlarged. Waves of waves repeat, bend and meet at edges, so that a descent finds regular patterns.

    Args:
        side: Of the images, in pixels, at least 2.
        n: How many, at least 1.
        seed: Of the initial weights. Image i is the same for every n.

    Attributes:
        weights: The parameters, W1 to W4, (n, outputs, inputs) each.
        side: The same.

    Raises:
        TypeError: Numbers that are not whole.
        ValueError: side < 2 or n < 1.

    Source: pattern-producing networks, Stanley 2007, as Nguyen 2015 uses them. Deviations: all activations are sines,
    and the weights are found by gradients, not by evolution.

    Example:
        >>> Pattern(8, n=2)().shape
        torch.Size([2, 3, 8, 8])
    """

    @torch.inference_mode(False)
    def __init__(self, side: int, n: int = 1, *, seed: int = 0):
        super().__init__()
        self.side, n = count(side, "side", 2), count(n, "n")
        generator = torch.Generator().manual_seed(seed)
        draws = [self._drawn(generator) for _ in range(n)]
        self.weights = nn.ParameterList(torch.stack(layer) for layer in zip(*draws, strict=True))
        axis = torch.linspace(-1, 1, -(-self.side // 2))
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("positions", torch.stack([x, y, torch.ones_like(x)]).flatten(1))

    @staticmethod
    def _drawn(generator: torch.Generator) -> list[Tensor]:
        """The weights of one image."""
        inner = [torch.randn(outputs, WIDTH, generator=generator) * GAIN / WIDTH**0.5 for outputs in (WIDTH, WIDTH, 3)]
        return [torch.randn(WIDTH, 3, generator=generator) * torch.tensor(WAVES), *inner]

    def forward(self) -> Tensor:
        """The images, (n, 3, side, side) in [0, 1]."""
        signal: Tensor = self.get_buffer("positions")
        *hidden, last = self.weights
        for weight in hidden:
            signal = torch.sin(weight @ signal)  # (n, units, positions)
        half = -(-self.side // 2)
        small = (GAIN * (last @ signal)).sigmoid().view(-1, 3, half, half)
        return F.interpolate(small, size=(self.side, self.side), mode="bilinear", align_corners=False)
