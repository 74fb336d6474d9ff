"""Images as files and as addresses on a page."""

import base64
import io

from PIL import Image
from torch import Tensor

from course_lib.errors import require, unknown
from course_lib.plotting.drawable import rgb

__all__ = ["data_uri", "encode"]

FORMATS = ("jpeg", "png", "webp")  # of encoded images


def encode(image: Tensor, format: str = "jpeg", quality: int = 80) -> bytes:
    """An image as the bytes of a file.

    Args:
        image: (1, 3, h, w), or grey (1, 1, h, w); values are clipped to [0, 1] and rounded to 8 bits.
        format: "jpeg", "png" or "webp".
        quality: Of a JPEG or a WebP, from 1 to 95.

    Returns:
        The bytes.

    Raises:
        TypeError: Not an image.
        ValueError: Another shape, more than one image, values that are not finite, or an unknown format.

    Example:
        >>> import torch
        >>> encode(torch.zeros(1, 3, 8, 8), "png")[:4]
        b'\\x89PNG'
    """
    image = rgb(image)
    require(len(image) == 1, f"one image at a time is encoded, (1, 3, h, w); got {tuple(image.shape)}")
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    buffer = io.BytesIO()
    pillow(image[0]).save(buffer, format=format, **({} if format == "png" else {"quality": quality}))
    return buffer.getvalue()


def pillow(image: Tensor) -> Image.Image:
    """(3, h, w) as Pillow has it."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def data_uri(image: Tensor, format: str = "jpeg", quality: int = 80) -> str:
    """An image as an address that holds all of it, for the `src` of an HTML page.

    Args:
        image: As in `encode`.
        format: As in `encode`.
        quality: As in `encode`.

    Returns:
        "data:image/jpeg;base64,...".

    Raises:
        TypeError: As `encode`.
        ValueError: As `encode`.
    """
    return address(encode(image, format, quality), format)


def address(data: bytes, format: str) -> str:
    return f"data:image/{format};base64,{base64.b64encode(data).decode()}"
