"""Maps of a late layer, weighed by what they do for a class."""

from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from course_lib.energy import activation
from course_lib.errors import require
from course_lib.inputs import Label, ready, tensor
from course_lib.taps import Taps, channels_first, hooked


def grad_cam(net: nn.Module, x: Tensor, label: Label, layer: str | None = None, *, upsample: bool = True) -> Tensor:
    """``max(sum over channels of w_c A_c, 0)``, A the maps of a layer and w_c the mean over positions of ``dS/dA_c``.

    Args:
        net: As in `gradient`.
        x: As in `gradient`.
        label: As in `gradient`.
        layer: Whose maps are weighed; by default the last one that has positions. A network that goes on in tokens
            behind it, as a vision transformer does, has no such layer to speak for it: name one.
        upsample: Enlarge the map, which has the layer's size, to the image's (bilinear).

    Returns:
        (n, 1, h, w), at least 0; without `upsample` in the layer's own size.

    Raises:
        TypeError: As `gradient`.
        ValueError: As `gradient`, and a layer without positions.

    Source: Selvaraju 2017, eq. 1 and 2. Deviation: none.
    """
    with ready(net, x, label) as (net, x, chosen):
        layer = _last_with_positions(net, x) if layer is None else layer
        positions = Taps(net, layer).positions(x)[layer]  # its errors come first
        maps, gradients = _maps_and_gradients(net, x, chosen, layer)
    require(positions is not None, f"layer {layer!r} has no positions: it outputs {tuple(maps.shape)}")
    maps, gradients = channels_first(maps, positions), channels_first(gradients, positions)
    heat = (gradients.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    return F.interpolate(heat, size=x.shape[2:], mode="bilinear", align_corners=False) if upsample else heat


def _maps_and_gradients(net: nn.Module, x: Tensor, label: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The layer's maps, as it returns them, and the gradients of the scores at them.

    An in-place ReLU may follow: values are copied at once, and the gradient is taken at the layer's edge of the graph.
    """
    maps, edges = [], []

    def record(output: object) -> None:
        a = tensor(output, f"layer {layer!r}")
        maps.append(a.detach().clone())
        edges.append(get_gradient_edge(a))

    with hooked(net, layer, record):
        logits = tensor(net(x.clone().requires_grad_()))
    (gradients,) = torch.autograd.grad(activation("", label)({"": logits}, x), edges[-1:])
    return maps[-1], gradients


def _last_with_positions(net: nn.Module, x: Tensor) -> str:
    """The last module without parts whose output is (n, c, h, w) with more than one position."""
    found: list[str] = []
    tokens: list[str] = []  # layers behind the last found

    def record(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found.append(name)
            tokens.clear()
        if isinstance(output, Tensor) and output.dim() == 3 and output.shape[1] > 1:
            tokens.append(name)

    with ExitStack() as stack, torch.no_grad():
        for name, module in net.named_modules():
            if name and not list(module.children()):
                stack.enter_context(hooked(net, name, partial(record, name)))
        net(x[:1])
    require(bool(found), "the network has no layer with positions, so there is nothing for Grad-CAM to weigh")
    require(
        not tokens,
        f"the network goes on in tokens ({', '.join(tokens[:2])}, ...) behind its last layer with positions, "
        f"{found[-1]!r}, which would speak for little of it; name the layer",
    )
    return found[-1]
