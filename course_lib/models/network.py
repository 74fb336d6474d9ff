"""A frozen classifier that takes images in [0, 1]."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.errors import require, unknown
from course_lib.inputs import check_alike, check_images, tensor, trusted
from course_lib.taps import without_hooks

OWN_NAMES = ("classes", "image_size", "index", "layers", "mean", "name", "std", "wrapped")


class Network(nn.Module):
    """A frozen classifier in evaluation mode that takes images in [0, 1] and returns logits.

    ``net(x)``: (n, 3, h, w) in [0, 1] -> (n, classes), before the softmax. Mean and standard deviation are applied
    inside. The parts of the wrapped network keep their own names, so that ``net.get_submodule("features.3")`` and
    `named_modules` say what torchvision says. The network that is wrapped is itself frozen and set to evaluation.

    Args:
        network: The network that takes normalised images.
        name: What to call it in a figure.
        classes: Names, in the order of the logits.
        image_size: Side of the images it was made for, in pixels; others work too if the network takes them.
        mean: Mean of R, G, B in [0, 1], which is subtracted; or one value for all three, which takes less time.
        std: Standard deviation of R, G, B, by which is divided, or one value.

    Attributes:
        layers: Every name that can be tapped.
        name: As given.
        classes: As given.
        image_size: As given.

    Raises:
        ValueError: A part of the network has a name that a Network needs for itself; and, when called, images that are
            too small (with the least size) or out of range, or on another device than the network.
        TypeError: When called, images of another dtype than the weights.
    """

    mean: Tensor
    std: Tensor
    wrapped: nn.Module

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        classes: tuple[str, ...],
        image_size: int,
        mean: list[float],
        std: list[float],
    ):
        super().__init__()
        parts = [*dict(network.named_children()), *dict(network.named_parameters(recurse=False))]
        taken = sorted({*OWN_NAMES, *dir(nn.Module)} & set(parts))
        require(
            not taken, f"the network has a part called {', '.join(taken)}, a name that models.Network needs; rename it"
        )
        for part, module in network.named_children():
            self.add_module(part, module)
        for part, parameter in network.named_parameters(recurse=False):
            self.register_parameter(part, parameter)
        self.layers = tuple(part for part, _ in self.named_modules() if part)
        vars(self)["wrapped"] = network  # not as a part, or its parts would be listed twice
        self.name, self.classes, self.image_size = name, classes, image_size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        network.eval()
        # channels_last: a third to a half off the time of a convolution on a CPU
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        # The range is the business of whoever takes a user's image: methods that add noise leave [0, 1].
        # Here only another scale (0 to 255) is refused.
        if not trusted.get():
            check_images(x, -10, 10)
            check_alike(self, x)
        x = x.to(memory_format=torch.channels_last)
        try:
            return tensor(self.wrapped.forward((x - self.mean) / self.std), self.name)
        except RuntimeError as error:
            height, width = x.shape[2:]
            enough = max(height, width, self.image_size)
            if out_of_memory(error) or self._takes(height, width) or not self._takes(enough, enough):
                raise  # it is not the size
            least = self._least_size(max(height, width))
            message = f"{self.name} needs images of at least {least} x {least}, got {height} x {width}"
            raise ValueError(message) from error

    def train(self, mode: bool = True) -> "Network":
        """Stays in evaluation mode, also as a part of what is being trained.

        Args:
            mode: Has no effect.
        """
        return super().train(False)

    def _apply(self, function: Any, recurse: bool = True) -> "Network":
        """`to`, `half` and their like reach the buffers that the wrapped network holds itself."""
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self.wrapped.named_buffers(recurse=False):
            self.wrapped._buffers[name] = function(buffer)
        return self

    def index(self, name: str) -> int:
        """The number of the class of that name.

        Args:
            name: One of `classes`.

        Raises:
            ValueError: No such class (the nearest names are listed).
        """
        if name not in self.classes:
            raise unknown(f"class of {self.name}", name, self.classes)
        return self.classes.index(name)

    def _least_size(self, size: int) -> int:
        """The side of the smallest square image that passes, by bisection (only ever needed for an error)."""
        low, high = 0, max(size, self.image_size)  # low fails, high passes
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._takes(middle, middle) else (middle, high)
        return high

    @torch.no_grad()
    def _takes(self, height: int, width: int) -> bool:
        try:
            with without_hooks():
                self.wrapped.forward(self.mean.new_zeros(1, 3, height, width))
        except (RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise
            return False
        return True


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: on a GPU by its type, on a CPU only by its words."""
    return isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error).lower()
