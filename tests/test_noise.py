"""Noise by its spectrum, against numpy's sums and the two users' own formulas."""

import numpy as np
import pytest
import torch

from course_lib.noise import power_law


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (12, 5)])
@pytest.mark.parametrize("power", [0, 1, 1.6, 2.4])
def test_each_coefficient_is_divided_by_a_power_of_its_frequency(power, height, width, generator):
    """numpy's full transform, with the frequency of every coefficient in a loop."""
    white = torch.rand(3, 2, height, width, dtype=torch.double, generator=generator)
    spectrum = np.fft.fft2(white.numpy())
    for i in range(height):
        for j in range(width):
            f = np.hypot(min(i, height - i) / height, min(j, width - j) / width)
            spectrum[..., i, j] /= max(f, 1 / max(height, width)) ** power
    expected = np.fft.ifft2(spectrum)
    assert np.abs(expected.imag).max() < 1e-9
    assert np.allclose(power_law(white, power).numpy(), expected.real, atol=1e-5)
    spectrum[..., 0, 0] = 0
    assert np.allclose(power_law(white, power, constant=False).numpy(), np.fft.ifft2(spectrum).real, atol=1e-5)


def test_the_power_falls_on_average_as_the_law_says(generator):
    noise = power_law(torch.randn(20, 64, 64, generator=generator), 1, constant=False)
    power = torch.fft.rfft2(noise).abs().square().mean(0)[0, 1:]  # along one direction, of frequencies 1 ... 32
    frequency = torch.arange(1, 33)
    slope = np.polyfit(frequency.log().numpy(), power.log().numpy(), 1)[0]
    assert slope == pytest.approx(-2, abs=0.2)
