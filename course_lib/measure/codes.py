"""How far codes lie apart: the distance by which the error of an inversion is normalised."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.measure.values import Values, real

Code = Tensor | Mapping[str, Tensor]
Features = Callable[[Tensor], Code]


def flat(code: Code) -> Tensor:
    """A code, of one layer or several, as one vector for each image.

    Args:
        code: (n, ...), or {layer: (n, ...)} as `Taps` outputs it.

    Returns:
        (n, d), the layers one after the other.

    Raises:
        ValueError: No layer.

    Example:
        >>> flat({"conv": torch.zeros(2, 3, 4, 4), "fc": torch.zeros(2, 5)}).shape
        torch.Size([2, 53])
    """
    parts = [code] if isinstance(code, Tensor) else list(code.values())
    require(bool(parts), "a code of no layer: name at least one")
    return torch.cat([part.flatten(1) for part in parts], 1)


def spread(codes: Values, *, squared: bool = False) -> float:
    """N, the mean distance between the codes of different images, by which a distance is normalised.

    The normalised reconstruction error of an inversion x* of x is ``|f(x*) - f(x)| / N``: 1 for an image that is no
    nearer to x than any other.

    Args:
        codes: (n, d), of n images.
        squared: The mean squared distance over all n^2 pairs, with the n zeros of the diagonal.

    Returns:
        At least 0.

    Raises:
        ValueError: Fewer than 2 codes, another shape, or codes that are not finite.

    Source: Mahendran and Vedaldi 2015, section 4. Deviation: their text has the plain distance, the script that they
    published has `squared`; here both can be had.

    Example:
        >>> spread([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])  # distances 5, 8 and 5
        6.0
    """
    codes = real(codes, "codes", "(n, d)", (2,))
    n = len(codes)
    require(n >= 2, f"a spread needs at least 2 codes, got {n}")
    distances = F.pdist(codes)  # of the n (n - 1) / 2 pairs
    return float(2 * distances.square().sum() / n**2 if squared else distances.mean())
