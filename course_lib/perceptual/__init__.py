"""The generic perceptual loss: maps compared in the features of an untrained network; its tasks."""

from course_lib.perceptual.loss import PerceptualLoss, untrained_vgg

__all__ = ["PerceptualLoss", "untrained_vgg"]
