"""What a unit likes best: gradient ascent, from one start or from several."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from course_lib.embedding import codes, pca
from course_lib.energy import activation
from course_lib.errors import require
from course_lib.images import Centred, Fourier, Image, Transform, compose, jitter, rotate, scale
from course_lib.inputs import check_images, check_range, whole
from course_lib.models import Network
from course_lib.preimage import Preimage, minimize
from course_lib.taps import Taps, relu_backward

WAKING = 48  # steps with redirected ReLUs; Olah's code takes 16, which left half of the silent units asleep here


def maximize_activation(
    net: Network,
    layer: str,
    channel: int | Tensor,
    *,
    at: tuple[int, int] | None = None,
    image: Image | None = None,
    transform: Transform | None = None,
    steps: int = 128,
    **options: Any,
) -> Preimage:
    """The picture that a unit likes best: argmax_x f(transform(x)), f the mean of a channel, or one place of it.

    layer, channel: "fc8", 3 is a class, "conv4", 17 a feature map (its mean over places, or the place `at`);
        (n,) channels give n pictures, one for each.
    image: the unknown; by default Fourier coordinates at the network's own size. transform: by default jitter by a
    sixteenth of the picture, a zoom by up to a tenth, a turn by up to 10 degrees. options: for `minimize` (regularizer,
    optimizer, seed, progress).

    A unit behind a ReLU can be silent on the start, with no slope to climb. Then a few first steps let the ReLUs pass
    back what would wake it (`relu_backward("redirected")`).

    Raises ValueError for a layer or channel that the network does not have.
    Source: Olah 2017, whose code jitters twice, over a padded canvas, and takes 512 steps.
    """
    side = net.image_size
    device = next(net.parameters()).device
    n = torch.as_tensor(channel).numel()
    unknown = Fourier(side, side, n, seed=options.get("seed", 0)) if image is None else image
    if transform is None:
        transform = compose(jitter(side // 16), scale(0.9, 1.1), rotate(10))
    climb = partial(minimize, loss=-1 * activation(layer, channel, at), image=unknown.to(device), transform=transform)
    features = Taps(net, layer)
    if _silent(features, unknown, layer, channel, at):
        climb(_redirected(features), steps=WAKING, **options | {"progress": False})
    return climb(features, steps=steps, **options)


@torch.no_grad()
def _silent(features: Taps, image: Image, layer: str, channel: int | Tensor, at: tuple[int, int] | None) -> bool:
    """Whether some unit, or the one at that place, answers nothing but zeros to the start."""
    a = features(image())[layer]  # (n, c) or (n, c, h, w)
    check_range(whole(channel, "channel"), a.shape[1], f"channel of layer {layer!r}", len(a))
    chosen = torch.as_tensor(channel).expand(len(a))
    maps = a[torch.arange(len(a)), chosen]  # (n,) or (n, h, w)
    if at is not None and maps.dim() == 3:
        maps = maps[:, at[0] : at[0] + 1, at[1] : at[1] + 1]
    return bool((maps.reshape(len(a), -1) == 0).all(1).any())


def _redirected(features: Taps) -> Callable[[Tensor], dict[str, Tensor]]:
    def run(x: Tensor) -> dict[str, Tensor]:
        with relu_backward("redirected"):
            return features(x)

    return run


def multifaceted(
    net: Network,
    layer: str,
    channel: int,
    images: Tensor,
    *,
    code_layer: str,
    facets: int = 4,
    nearest: int = 15,
    sigma: float = 0.5,
    steps: int = 128,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """Several pictures that a unit likes, one for each kind of picture that it likes: (facets, 3, h, w).

    images: (m, 3, h, w) that the unit answers to: the pictures of a class, or the unit's top patches. Their codes in
    code_layer are reduced to 50 numbers (PCA) and parted in k-means clusters, the largest first. Facet k begins at the
    mean of the `nearest` pictures about the centre of cluster k, and ascends with a centre bias of width `sigma`
    (`images.Centred`). With steps=0 it returns the beginnings. options: for `maximize_activation`.

    seed: of the clusters, the faint noise and the transform. Raises ValueError for facets < 1 or more than pictures.
    Source: Nguyen 2016 (multifaceted), who reduces the codes further by t-SNE, and ascends in pixels.
    """
    check_images(images)
    require(1 <= facets <= len(images), f"facets must be from 1 to the number of pictures, {len(images)}, got {facets}")
    start = torch.stack([images[rows].mean(0) for rows in _kinds(net, code_layer, images, facets, nearest, seed)])
    image = Centred(start, sigma, seed=seed)
    units = torch.full((facets,), channel, device=start.device)
    return maximize_activation(net, layer, units, image=image, steps=steps, seed=seed, **options)


def _kinds(net: Network, layer: str, images: Tensor, facets: int, nearest: int, seed: int) -> list[Tensor]:
    """The rows of the pictures nearest to the centre of each cluster of codes, the largest cluster first."""
    answers = codes(net, layer, images, progress=False)
    table = pca(answers, min(50, *answers.shape)).numpy()
    found = KMeans(facets, n_init=10, random_state=seed).fit(table)
    member, away = torch.from_numpy(found.labels_).long(), torch.from_numpy(found.transform(table))
    order = member.bincount(minlength=facets).argsort(descending=True, stable=True)
    rows = [(member == k).nonzero()[:, 0] for k in order]
    return [those[away[those, k].argsort(stable=True)[:nearest]] for those, k in zip(rows, order, strict=True)]
