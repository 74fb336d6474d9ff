"""Patterns of waves as unknown images: small networks of sines, whose weights are sought."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.images import Image
from course_lib.inputs import count

WIDTH = 16  # units of each hidden layer
WAVES = (1.5, 1.5, 3.0, 1.5)  # deviation of the first weights, of cos 2 pi x, cos 2 pi y, the radius and 1
GAIN, CONTRAST = 1.5, 3.0
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))  # of photographs: bright to dark, then two hues


class Pattern(Image):
    """Images drawn by networks (cos 2 pi x, cos 2 pi y, radius, 1) -> sin -> sin -> sin -> three colours.

    The image is ``sigmoid(3 M W4 sin(W3 sin(W2 sin(W1 p))))``, p the four numbers of a position, x and y from -1 to 1,
    16 units a layer, without biases. The cosines repeat a motif and mirror it; M, the colour directions of photographs,
    lets brightness vary more than hue. It is drawn at half the size and enlarged.

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
    symmetry is built in, and the weights are found by gradients, not by evolution. M: Olah 2017 (Lucid), divided by
    its longest column.

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
        rows = [torch.cos(2 * math.pi * x), torch.cos(2 * math.pi * y), (x * x + y * y).sqrt(), torch.ones_like(x)]
        self.register_buffer("positions", torch.stack(rows).flatten(1))
        colours = torch.tensor(COLOURS)
        self.register_buffer("colours", CONTRAST * colours / colours.norm(dim=0).max())

    @staticmethod
    def _drawn(generator: torch.Generator) -> list[Tensor]:
        """The weights of one image."""
        sizes = ((WIDTH, GAIN), (WIDTH, GAIN), (3, 1.0))
        inner = [torch.randn(outputs, WIDTH, generator=generator) * gain / WIDTH**0.5 for outputs, gain in sizes]
        return [torch.randn(WIDTH, len(WAVES), generator=generator) * torch.tensor(WAVES), *inner]

    def forward(self) -> Tensor:
        """The images, (n, 3, side, side) in [0, 1]."""
        signal: Tensor = self.get_buffer("positions")
        *hidden, last = self.weights
        for weight in hidden:
            signal = torch.sin(weight @ signal)  # (n, units, positions)
        half = -(-self.side // 2)
        small = (self.get_buffer("colours") @ last @ signal).sigmoid().view(-1, 3, half, half)
        return F.interpolate(small, size=(self.side, self.side), mode="bilinear", align_corners=False)
