"""What several test modules share: small networks, and the ImageNet network and a sandbox where they are at hand."""

import os

import pytest
import torch

from course_lib import models, world
from course_lib.grading import sandbox


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


@pytest.fixture(scope="session")
def sandboxed():
    """Tests of untrusted code are skipped without a sandbox, but not where nobody would notice."""
    try:
        sandbox.probe()
    except sandbox.NoSandbox as error:
        assert not os.environ.get("CI"), f"continuous integration must have a sandbox: {error}"
        pytest.skip(f"no sandbox on this machine: {error}")
