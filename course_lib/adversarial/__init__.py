"""Fooling a network: FGSM, PGD, L-BFGS, fooling images by ascent and by evolution."""

from course_lib.adversarial.attacks import Loss, fgsm, lbfgs, pgd
from course_lib.adversarial.ball import NORMS, Ball
from course_lib.adversarial.evolution import cppn, evolve
from course_lib.adversarial.fooling import METHODS, fooling_image

__all__ = ["METHODS", "NORMS", "Ball", "Loss", "cppn", "evolve", "fgsm", "fooling_image", "lbfgs", "pgd"]
