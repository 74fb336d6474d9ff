"""The unknown image, its priors, and transforms.

An image gives (n, 3, h, w) in [0, 1] when called, and project() brings it back into its set after each step.
A transform takes an image and a torch.Generator and gives an image of the same size.
"""

from course_lib.images.priors import Prior, blur, bounded_range, clip_small_contribution, clip_small_norm
from course_lib.images.transforms import Transform, compose, jitter, rotate, scale
from course_lib.images.unknowns import (
    Centred,
    Fourier,
    Image,
    Latent,
    Phase,
    Pixels,
    Unbounded,
    grey,
    magnitudes,
    resize,
)

__all__ = [
    "Centred",
    "Fourier",
    "Image",
    "Latent",
    "Phase",
    "Pixels",
    "Prior",
    "Transform",
    "Unbounded",
    "blur",
    "bounded_range",
    "clip_small_contribution",
    "clip_small_norm",
    "compose",
    "grey",
    "jitter",
    "magnitudes",
    "resize",
    "rotate",
    "scale",
]
