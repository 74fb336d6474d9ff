"""What several test modules share: small networks, and the ImageNet network where it is at hand."""

import pytest
import torch

from course_lib import models, world


@pytest.fixture(scope="session")
def coursenet():
    return models.load("coursenet")


@pytest.fixture(scope="session")
def squeezenet():
    """The ImageNet SqueezeNet where its weights are on the machine, else a random one: either will do."""
    trained = models.cached_file("squeezenet1_0").exists()
    return models.load("squeezenet1_0", weights="pretrained" if trained else "random")


@pytest.fixture(scope="session")
def scenes():
    return world.draw(8, seed=123)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
