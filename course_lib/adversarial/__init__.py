"""Fooling a network: attacks with and without gradients, patches, fooling images; certificates."""

from course_lib.adversarial.apgd import LOSSES, apgd, apgd_t
from course_lib.adversarial.attacks import Loss, fgsm, lbfgs, pgd
from course_lib.adversarial.ball import NORMS, Ball
from course_lib.adversarial.evolution import cppn, evolve
from course_lib.adversarial.fooling import METHODS, fooling_image
from course_lib.adversarial.patch import paste, patch, random_place
from course_lib.adversarial.patterns import Pattern
from course_lib.adversarial.smoothing import ABSTAIN, Certificate, certify
from course_lib.adversarial.square import square

__all__ = [
    "ABSTAIN",
    "LOSSES",
    "METHODS",
    "NORMS",
    "Ball",
    "Certificate",
    "Loss",
    "Pattern",
    "apgd",
    "apgd_t",
    "certify",
    "cppn",
    "evolve",
    "fgsm",
    "fooling_image",
    "lbfgs",
    "paste",
    "patch",
    "pgd",
    "random_place",
    "square",
]
