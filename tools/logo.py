"""Draws the logo and the favicon, a filter of CourseNet's first layer: python -m tools.logo"""

import numpy as np
from PIL import Image

from course_lib import models
from project.repository import BOOK, ROOT

IMAGES = ROOT / BOOK / "images"
CHANNEL = 24  # the most striking of the 32, small as well: a dark bar between warm corners
CORNERS = {(0, 0), (0, 6), (6, 0), (6, 6)}


def weights() -> np.ndarray:
    """(7, 7, 3), uint8: grey is zero, and the largest weight is at full strength."""
    weight = models.load("coursenet").get_parameter("conv1.weight")[CHANNEL].detach()
    image = 0.5 + weight / weight.abs().max()  # twice as strong as in the chapters, to be seen at 16 pixels
    return (255 * image.clamp(0, 1)).byte().permute(1, 2, 0).numpy()


def svg(pixels: np.ndarray) -> str:
    squares = [
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="#{bytes(pixels[y, x]).hex()}"/>'
        for y in range(7)
        for x in range(7)
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 7 7"><title>Inside ConvNets</title>'
        '<clipPath id="round"><rect width="7" height="7" rx="1"/></clipPath>'
        f'<g clip-path="url(#round)">{"".join(squares)}</g></svg>\n'
    )


def favicon(pixels: np.ndarray) -> Image.Image:
    """32 pixels: 4 for each weight and 2 around; the corners are left out, as the logo's are round."""
    alpha = np.full((7, 7, 1), 255, np.uint8)
    for corner in CORNERS:
        alpha[corner] = 0
    large = np.concatenate([pixels, alpha], 2).repeat(4, 0).repeat(4, 1)
    return Image.fromarray(np.pad(large, ((2, 2), (2, 2), (0, 0))))


if __name__ == "__main__":
    (IMAGES / "logo.svg").write_text(svg(weights()))
    favicon(weights()).save(IMAGES / "favicon.png", optimize=True)
