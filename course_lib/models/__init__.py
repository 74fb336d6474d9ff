"""Networks: shipped, torchvision's, random; normalisation inside."""

from course_lib.models.coursenet import course_net
from course_lib.models.load import cached_file, load
from course_lib.models.network import Network
from course_lib.models.random_weights import INITIALIZATIONS, RandomFilters, average_pooling, untrained
from course_lib.models.weights import SHIPPED, MissingWeights

__all__ = [
    "INITIALIZATIONS",
    "SHIPPED",
    "MissingWeights",
    "Network",
    "RandomFilters",
    "average_pooling",
    "cached_file",
    "course_net",
    "load",
    "untrained",
]
