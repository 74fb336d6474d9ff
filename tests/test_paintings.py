"""The drawn styles: images, the same for a seed, with what their names promise in them."""

import pytest
import torch
from scipy.ndimage import label

from course_lib import paintings

ALL = {"night": paintings.night, "glass": paintings.glass, "engraving": paintings.engraving}


def spectrum(x, angle):
    """Power of an image's brightness along one direction of frequency, degrees from right to down."""
    grey = x.mean(1)[0]
    power = torch.fft.fftshift(torch.fft.fft2(grey - grey.mean()).abs().square())
    middle = len(power) // 2
    direction = torch.tensor(angle).deg2rad()
    reach = torch.arange(8, 40)
    rows = (middle + reach * direction.sin()).round().long()
    columns = (middle + reach * direction.cos()).round().long()
    return float(power[rows, columns].sum())


@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_a_painting_is_an_image_and_a_seed_draws_the_same_one(draw):
    x = draw()
    assert x.shape == (1, 3, 256, 256)
    assert x.min() >= 0 and x.max() <= 1 and x.std() > 0.1
    assert torch.equal(x, draw())
    assert not torch.equal(x, draw(seed=11))


def test_the_night_has_gold_in_its_whorls_and_blue_around_them():
    x, (y, across, *_) = paintings.night(), paintings.WHORLS[0]
    star = x[0, :, int((y + 1) * 128), int((across + 1) * 128)]
    assert star[0] > star[2] + 0.2
    red, _, blue = x[0].mean((1, 2))
    assert blue > red


def test_the_glass_has_about_as_many_panes_as_centres():
    """Connected pieces between the leads; slivers may be cut off, or lie outside the image."""
    for panes in (20, 90):
        light = paintings.glass(panes=panes)[0].amax(0) > 0.2
        pieces, _ = label(light.numpy())
        large = torch.bincount(torch.from_numpy(pieces).flatten().long())[1:] > 60
        assert 0.6 * panes <= int(large.sum()) <= 1.3 * panes


def test_the_engravings_lines_run_in_the_hatched_direction():
    """17 lines a half side along (0.62, 0.78): their frequency is at atan(0.78 / 0.62) = 51.5 degrees."""
    x = paintings.engraving()
    assert spectrum(x, 51.5) > 10 * spectrum(x, 5.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: paintings.night(seed=1.5), TypeError, "the seed is a whole number, got 1.5"),
        (lambda: paintings.glass(seed="a"), TypeError, "the seed is a whole number, got 'a'"),
        (lambda: paintings.glass(panes=1), ValueError, "at least 2 panes, got 1"),
        (lambda: paintings.glass(panes=2.5), TypeError, "the number of panes is a whole number, got 2.5"),
        (lambda: paintings.engraving(lines=0), ValueError, "the number of lines must be above 0, got 0"),
    ],
)
def test_what_cannot_be_painted_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
