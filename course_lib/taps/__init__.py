"""Named activations, the backward rules of the ReLU, receptive fields."""

from course_lib.taps.activations import Enough, Named, Taps, channels_first, hooked, without_hooks
from course_lib.taps.receptive_fields import ReceptiveField, receptive_field
from course_lib.taps.relu_rules import RULES, ReLURule, relu_backward

__all__ = [
    "RULES",
    "Enough",
    "Named",
    "ReLURule",
    "ReceptiveField",
    "Taps",
    "channels_first",
    "hooked",
    "receptive_field",
    "relu_backward",
    "without_hooks",
]
