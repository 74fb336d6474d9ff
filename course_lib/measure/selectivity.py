"""What a unit or a filter responds to."""

import torch
from torch import Tensor

from course_lib.errors import require
from course_lib.measure.statistics import Interval
from course_lib.measure.values import Values, finite, real


def explained(values: Values, factor: Values) -> Tensor:
    """Share of the variance of a unit's values that a factor explains, without the share that it would by accident.

    ``epsilon^2 = 1 - (SS_within / (n - k)) / (SS_total / (n - 1))`` over the k classes of the factor: 0 on average for
    a unit that knows nothing of it, where the plain share SS_between / SS_total would be (k - 1) / (n - 1).

    Args:
        values: (n, c), the values of c units for n images.
        factor: (n,), the class of each image, whole numbers; 2 to n - 1 different ones.

    Returns:
        (c,) float64, at most 1, and a little below 0 now and then; 0 for a unit that never changes.

    Raises:
        TypeError: Something else than numbers.
        ValueError: Shapes that do not fit, fewer than 2 classes or one for each image, a factor that is no whole
            numbers, values that are not finite.

    Source: Kelley 1935. Deviation: none.

    Example:
        >>> explained([[0.0], [1.0], [4.0], [5.0]], [7, 7, 9, 9])  # 31 / 34
        tensor([0.9118], dtype=torch.float64)
    """
    values, factor = real(values, "values", "(n, c)", (2,)), finite(factor, "factors", "(n,)", (1,))
    whole = not factor.is_floating_point() or bool((factor == factor.round()).all())
    require(whole, "a factor is whole numbers, one for each class; sort its values into classes first")
    require(len(factor) == len(values), f"{len(factor)} factors for {tuple(values.shape)}")
    classes, member = torch.unique(factor.to(values.device), return_inverse=True)
    n, k = len(values), len(classes)
    require(1 < k < n, f"a factor needs at least 2 classes and fewer than images, got {k} for {n}")
    values = values.double()
    means = torch.stack([values[member == i].mean(0) for i in range(k)])  # (k, c)
    within, total = ((values - mean).square().sum(0) for mean in (means[member], values.mean(0)))
    return torch.where(total > 0, 1 - (within / (n - k)) / (total / (n - 1)).clamp(min=1e-30), 0.0)


def auc(values: Values, positive: Values) -> Tensor:
    """How well a unit's values tell the images with a property from those without: the area under the ROC curve.

    ``P(v of an image with it > v of one without it) + P(v = v) / 2``, over all pairs: 1 for a perfect detector, 1/2 for
    a coin, 0 for a unit that is silent exactly there.

    Args:
        values: (n, c), the values of c units for n images.
        positive: (n,) bool, which images have the property; some have it, some have not.

    Returns:
        (c,) float64 in [0, 1].

    Raises:
        TypeError: Something else than numbers.
        ValueError: Shapes that do not fit, a property of all or of none, values that are not finite.

    Source: Mann and Whitney 1947, their U over the number of pairs. Deviation: none.

    Example:
        >>> auc([[0.0, 2.0], [1.0, 2.0], [5.0, 2.0]], [False, False, True])  # above both, and level with both
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    values, positive = real(values, "values", "(n, c)", (2,)), finite(positive, "positive", "(n,)", (1,)).bool()
    require(len(positive) == len(values), f"{len(positive)} of positive for {tuple(values.shape)}")
    count = int(positive.sum())
    require(0 < count < len(values), f"the property is one of some images, not of {count} of {len(values)}")
    columns = values.double().mT.contiguous()  # (c, n)
    ordered = columns.sort(1).values
    below, upto = (torch.searchsorted(ordered, columns, right=right) for right in (False, True))
    ranks = (below + upto + 1) / 2  # from 1; the mean rank of equal values
    u = ranks.double()[:, positive.to(values.device)].sum(1) - count * (count + 1) / 2
    return u / (count * (len(values) - count))


def auc_interval(values: Values, positive: Values) -> Interval:
    """One unit's AUC and its 95 % interval, for independent images.

    The ends solve ``(A - A_0)^2 = z^2 V(A_0)``, as Wilson's do for a share, so that they stay in [0, 1] and that a
    perfect detector on few images has an interval too.
    ``V(A) = A (1 - A) (1 + m (1 - A) / (2 - A) + m A / (1 + A)) / (p q)`` for p images with the property, q without,
    and ``m = (p + q) / 2 - 1``.

    Args:
        values: (n,), the unit's values.
        positive: (n,) bool, as in `auc`.

    Returns:
        The AUC, both ends, and n.

    Raises:
        TypeError: As `auc`.
        ValueError: As `auc`.

    Source: Hanley and McNeil 1982 for the variance; Newcombe 2006, method 5, for the interval. Deviation: none.

    Example:
        >>> print(auc_interval([0.0, 1, 2, 3, 9, 8], [False] * 4 + [True] * 2))
        1.00 [0.47, 1.00]
    """
    from scipy.optimize import brentq

    values, positive = real(values, "values", "(n,)", (1,)), finite(positive, "positive", "(n,)", (1,)).bool()
    found = float(auc(values[:, None], positive))
    p, n = int(positive.sum()), len(values)
    m, z = n / 2 - 1, 1.959964

    def beyond(a: float) -> float:
        """Below 0 where the AUC that was found is one to expect of a true AUC of a."""
        variance = a * (1 - a) * (1 + m * (1 - a) / (2 - a) + m * a / (1 + a)) / (p * (n - p))
        return (found - a) ** 2 - z**2 * variance

    inside = 1e-9  # of the range, at whose very ends the variance is 0
    low = brentq(beyond, 0.0, found - inside) if found > inside else 0.0
    high = brentq(beyond, found + inside, 1.0) if found < 1 - inside else 1.0
    return Interval(found, low, high, n)


def colour_energy(filters: Values) -> Tensor:
    """Share of the squared weights of RGB filters that is colour and not grey: ``1 - 3 |mean over RGB|^2 / |w|^2``.

    Args:
        filters: (n, 3, h, w), the weights of a first convolution.

    Returns:
        (n,) in [0, 1]: 0 for a grey or an empty filter, 2/3 on average for independent random weights.

    Raises:
        ValueError: Another shape, or weights that are not finite.

    Example:
        >>> mixes = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, -1, 0]])  # grey, red, red against green
        >>> colour_energy(mixes[:, :, None, None].expand(3, 3, 5, 5))
        tensor([0.0000, 0.6667, 1.0000])
    """
    filters = real(filters, "filters", "(n, 3, h, w)", (4,))
    require(filters.shape[1] == 3, f"filters have shape (n, 3, h, w), got {tuple(filters.shape)}")
    colour = (filters - filters.mean(1, keepdim=True)).square().sum((1, 2, 3))  # what is left without the grey
    return colour / filters.square().sum((1, 2, 3)).clamp(min=1e-30)


def orientation_energy(filters: Values) -> Tensor:
    """How much the spectrum of a filter lies along one direction: ``|sum P exp(2 i theta)| / sum P``.

    The sums are over spatial frequencies between 0 and Nyquist, P the power and theta the direction.

    Args:
        filters: (n, c, h, w), any number of channels.

    Returns:
        (n,) in [0, 1]: near 1 for a grating, above 1/2 for a step, 0 for a blob, near 0 for noise; 0 for an empty one.

    Raises:
        ValueError: Another shape, or weights that are not finite.

    Source: The orientation tensor of Bigün and Granlund 1987, summed over the spectrum. Deviation: frequencies outside
    a full circle are left out, so that no direction has more of them.

    Example:
        >>> wave = torch.sin(torch.arange(15.0)).expand(1, 1, 15, 15)
        >>> [round(float(orientation_energy(filters)), 1) for filters in (wave, wave + wave.mT)]
        [0.9, 0.0]
    """
    filters = real(filters, "filters", "(n, c, h, w)", (4,))
    side = 64  # zero-padded: a small filter has few frequencies of its own
    power = torch.fft.fft2(filters, s=(side, side)).abs().square().sum(1)  # (n, side, side)
    f = torch.fft.fftfreq(side, device=filters.device)
    radius, theta = (f[:, None] ** 2 + f**2).sqrt(), torch.atan2(f[:, None].expand(side, side), f.expand(side, side))
    power = power * ((radius > 0) & (radius < 0.5))  # a full circle, so that no direction has more frequencies
    turned = (power * torch.exp(2j * theta)).sum((1, 2)).abs()
    along: Tensor = turned / power.sum((1, 2)).clamp(min=1e-30)
    return along
