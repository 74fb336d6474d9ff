"""Weighted, named scalar terms.

An energy is minimised; to maximise, write `-1 * activation("fc8", 3)`. Energies add, subtract, scale and sum() as the
equation does. Each term is a scalar: the sum over the images of a batch, so that every image of a batch descends as it
would alone. An energy knows the layers whose activations it needs.
"""

from course_lib.energy.sliced import sliced_distance
from course_lib.energy.terms import (
    Activations,
    Energy,
    Term,
    activation,
    alpha_norm,
    check_layers,
    cross_entropy,
    distance,
    gram_distance,
    gram_matrix,
    inner_product,
    squared_norm,
    total_variation,
)

__all__ = [
    "Activations",
    "Energy",
    "Term",
    "activation",
    "alpha_norm",
    "check_layers",
    "cross_entropy",
    "distance",
    "gram_distance",
    "gram_matrix",
    "inner_product",
    "sliced_distance",
    "squared_norm",
    "total_variation",
]
