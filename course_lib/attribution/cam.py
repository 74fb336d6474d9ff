"""Maps of a late layer, weighed by what they do for a class."""

from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attribution.slopes import check_input
from course_lib.energy import activation
from course_lib.errors import require
from course_lib.taps import Taps, hooked


def grad_cam(
    net: nn.Module, x: Tensor, label: int | Tensor, layer: str | None = None, *, upsample: bool = True
) -> Tensor:
    """max(sum over channels of w_c A_c, 0), w_c the mean over places of dS/dA_c: (n, 1, h, w), at least 0.

    A are the maps of `layer`, by default the last one that has places. The map has their size and is upsampled to the
    picture's (bilinear); upsample=False leaves it as it is.
    Raises as `gradient`, and ValueError for a layer without places. Source: Selvaraju 2017, eq. 1 and 2.
    """
    check_input(net, x)
    layer = _last_with_places(net, x) if layer is None else layer
    with torch.enable_grad():
        logits, maps = _with_maps(net, x.detach().clone().requires_grad_(), layer)
        require(maps.dim() == 4, f"layer {layer!r} has no places: it answers {tuple(maps.shape)}")
        (slopes,) = torch.autograd.grad(activation("", label)({"": logits}, x), maps)
    heat = (slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
    return F.interpolate(heat, size=x.shape[2:], mode="bilinear", align_corners=False) if upsample else heat


def _with_maps(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The logits, and the layer's maps on the way to them: what follows gets a copy, which it may overwrite."""
    Taps(net, layer)(x[:1])  # its errors
    found = []

    def record(output: Tensor) -> Tensor:
        found.append(output)
        return output.clone()

    with hooked(net, layer, record):
        return net(x), found[-1]


def _last_with_places(net: nn.Module, x: Tensor) -> str:
    """The last module without parts whose answer is (n, c, h, w) with more than one place."""
    found = []

    def record(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found.append(name)

    with ExitStack() as stack, torch.no_grad():
        for name, module in net.named_modules():
            if name and not list(module.children()):
                stack.enter_context(hooked(net, name, partial(record, name)))
        net(x[:1])
    require(bool(found), "the network has no layer with places, so there is nothing for Grad-CAM to weigh")
    return found[-1]
