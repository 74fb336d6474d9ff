"""Which pixels mattered: gradient rules, occlusion, CAM, segmentation."""

from course_lib.attribution.cam import grad_cam
from course_lib.attribution.gradient import gradient, saliency, smooth_grad
from course_lib.attribution.integrated import integrated_gradients
from course_lib.attribution.occlusion import occlusion, occlusion_grid
from course_lib.attribution.segmentation import segment

__all__ = [
    "grad_cam",
    "gradient",
    "integrated_gradients",
    "occlusion",
    "occlusion_grid",
    "saliency",
    "segment",
    "smooth_grad",
]
