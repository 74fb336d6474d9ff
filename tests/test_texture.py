"""Texture without a network, against plain loops over pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data as photographs

from course_lib import texture
from course_lib.texture import efros_leung, wei_levoy


@pytest.fixture(scope="module")
def brick():
    grey = torch.from_numpy(photographs.brick()).float() / 255
    return F.interpolate(grey.expand(1, 3, -1, -1), (64, 64), mode="area")[..., :32, :32].contiguous()


def stripes(height, width, period=4):
    """Vertical stripes, red and blue."""
    on = (torch.arange(width) % period < period // 2).float()
    return torch.stack([on, torch.zeros(width), 1 - on])[None, :, None].expand(1, 3, height, width).contiguous()


def colours(image):
    return {tuple(colour) for colour in image[0].flatten(1).T.tolist()}


METHODS = {
    "efros_leung": lambda exemplar, size, seed=0: efros_leung(exemplar, size, 9, seed, progress=False),
    "wei_levoy": lambda exemplar, size, seed=0: wei_levoy(exemplar, size, 5, 2, seed, progress=False),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_pixel_is_one_of_the_exemplars(method, brick):
    grown = METHODS[method](brick, (40, 24))
    assert grown.shape == (1, 3, 40, 24)
    assert colours(grown) <= colours(brick)


def test_stripes_go_on_as_stripes():
    grown = efros_leung(stripes(24, 24), (32, 32), 9, progress=False)
    assert torch.equal(grown, grown[:, :, :1].expand_as(grown))  # all rows alike
    assert torch.equal(grown[..., 2:], grown[..., :-2].flip(1))  # two pixels on, the other colour: red is blue's mirror
    scanned = wei_levoy(stripes(24, 24), (32, 32), 5, 2, progress=False)
    assert torch.equal(scanned, scanned[:, :, :1].expand_as(scanned))
    right = (scanned[..., 2:] == scanned[..., :-2].flip(1)).float().mean()
    assert right > 0.85  # where the noise began two stripes out of step, they meet in a fault


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_texture(method, brick):
    first, again, other = (METHODS[method](brick, (20, 20), seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_windows_are_nearer_to_the_exemplars_than_those_of_scattered_pixels(method, brick):
    def distance(image):
        mine, theirs = (texture._windows(p, 5) for p in (image, brick))
        return torch.cdist(mine, theirs).amin(1).mean()

    scattered = brick.flatten(2)[..., torch.randperm(1024, generator=torch.Generator().manual_seed(0))].view_as(brick)
    bar = {"efros_leung": 0.25, "wei_levoy": 0.5}[method]  # the one sees the whole window, the other an L of it
    assert distance(METHODS[method](brick, (32, 32))) < bar * distance(scattered)


# ---------------------------------------------------------------- Efros and Leung


def by_hand(exemplar, image, known, row, column, window):
    """d for each window of the exemplar, with loops over its positions."""
    reach, sigma = window // 2, window / 6.4
    height, width = exemplar.shape[1:]
    errors = {}
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            total = weight = 0.0
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    i, j = row + dy, column + dx
                    if 0 <= i < known.shape[0] and 0 <= j < known.shape[1] and known[i, j]:
                        g = np.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
                        weight += g
                        total += g * ((exemplar[:, y + dy, x + dx] - image[:, i, j]) ** 2).sum()
            errors[y, x] = total / weight
    return errors


def test_one_missing_pixel_comes_from_a_window_within_a_tenth_of_the_best(generator):
    exemplar = torch.rand(1, 3, 9, 10, generator=generator)
    image = torch.rand(1, 3, 8, 8, generator=generator)
    for row, column in ((3, 4), (0, 7)):  # in the middle, and at a corner, where half of the window is missing
        known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        known[..., row, column] = False
        filled = efros_leung(exemplar, (8, 8), 5, start=image, known=known, progress=False)
        assert torch.equal(filled[known.expand_as(filled)], image[known.expand_as(image)])
        errors = by_hand(*(a.double().numpy() for a in (exemplar[0], image[0])), known[0, 0].numpy(), row, column, 5)
        allowed = [position for position, error in errors.items() if error <= 1.1001 * min(errors.values())]
        assert tuple(filled[0, :, row, column].tolist()) in {tuple(exemplar[0, :, y, x].tolist()) for y, x in allowed}


def test_a_hole_in_stripes_is_filled_without_a_trace():
    image = stripes(24, 24)
    known = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    known[..., 8:17, 7:18] = False
    holed = image * known
    filled = efros_leung(image[..., :14, :14].contiguous(), (24, 24), 9, start=holed, known=known, progress=False)
    assert torch.equal(filled, image)


def test_pixels_with_the_most_known_neighbours_come_first(brick, monkeypatch):
    """A single missing pixel has 8, each of a missing pair 7, each of a missing square 5."""
    missing = [(1, 1), (6, 6), (7, 6), (10, 6), (10, 5), (11, 5), (11, 6)]
    known = torch.ones(1, 1, 14, 10, dtype=torch.bool)
    for row, column in missing:
        known[..., row, column] = False
    filled, around = [], texture._around

    def record(padded, rows, columns, window):
        filled.append(list(zip(rows.tolist(), columns.tolist(), strict=True)))
        return around(padded, rows, columns, window)

    monkeypatch.setattr(texture, "_around", record)
    efros_leung(brick, (14, 10), 5, start=brick[..., :14, :10].contiguous(), known=known)
    order = [pixel for group in filled[::2] for pixel in group]  # of each group first the colours, then the mask
    assert sorted(order) == sorted(missing)
    assert order[:2] == [(1, 1), (6, 6)]
    assert set(order[2:4]) == {(7, 6), (10, 6)}  # filled at once, 6 neighbours on average


def test_what_is_there_before_stays(brick):
    known = torch.zeros(1, 1, 24, 24, dtype=torch.bool)
    known[..., :10, :12] = True
    start = torch.zeros(1, 3, 24, 24)
    start[..., :10, :12] = brick[..., :10, :12]
    grown = efros_leung(brick, (24, 24), 9, start=start, known=known, progress=False)
    assert torch.equal(grown[..., :10, :12], brick[..., :10, :12])
    assert torch.equal(start[..., 10:, :], torch.zeros(1, 3, 14, 24))  # the caller's image is not touched


# ---------------------------------------------------------------- Wei and Levoy


def scanned(exemplar, noise, window, coarse_exemplar=None, coarse=None):
    """One level in plain loops, in the documented order."""
    reach = window // 2
    earlier = [(dy, dx) for dy in range(-reach, 1) for dx in range(-reach, reach + 1) if dy < 0 or dx < 0]
    around = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]

    def surroundings(image, parent, y, x):
        height, width = image.shape[1:]
        near = [image[:, (y + dy) % height, (x + dx) % width] for dy, dx in earlier]
        if parent is not None:
            rows, columns = parent.shape[1:]
            near += [parent[:, (y // 2 + dy) % rows, (x // 2 + dx) % columns] for dy, dx in around]
        return np.concatenate(near)

    positions = [(y, x) for y in range(exemplar.shape[1]) for x in range(exemplar.shape[2])]
    candidates = [surroundings(exemplar, coarse_exemplar, y, x) for y, x in positions]
    image = noise.copy()
    height, width = image.shape[1:]
    for y, x in sorted(
        ((y, x) for y in range(height) for x in range(width)), key=lambda p: ((reach + 1) * p[0] + p[1], p[0])
    ):
        seen = surroundings(image, coarse, y, x)
        best = positions[int(np.argmin([((seen - candidate) ** 2).sum() for candidate in candidates]))]
        image[:, y, x] = exemplar[:, best[0], best[1]]
    return image


@pytest.mark.parametrize("levels", [1, 2])
def test_wei_levoy_does_what_plain_loops_do(levels, generator):
    exemplar = torch.rand(1, 3, 12, 12, generator=generator)
    found = wei_levoy(exemplar, (8, 12), 3, levels, seed=5, progress=False)
    draws = torch.Generator().manual_seed(5)
    coarse_exemplar = coarse = None
    for level in reversed(range(levels)):
        small = F.avg_pool2d(exemplar, 2**level)
        noise = texture.scattered(small, (8 >> level, 12 >> level), draws)[0].double().numpy()
        small = small[0].double().numpy()
        coarse = scanned(small, noise, 3, coarse_exemplar, coarse)
        coarse_exemplar = small
    assert np.allclose(found[0].numpy(), coarse, atol=1e-6)


def test_the_noise_has_the_exemplars_colours(brick, generator):
    noise = texture.scattered(brick, (50, 60), generator)
    assert noise.shape == (1, 3, 50, 60) and colours(noise) <= colours(brick)
    assert abs(float(noise.mean() - brick.mean())) < 0.01 and abs(float(noise.std() - brick.std())) < 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_grows_also_in_inference(method, dtype, brick):
    with torch.inference_mode():
        exemplar = brick[..., :16, :16].to(dtype)
    for mode in (torch.inference_mode, torch.enable_grad):
        with mode():
            grown = METHODS[method](exemplar, (12, 12))
        assert grown.dtype == dtype and not grown.requires_grad
        assert colours(grown) <= colours(exemplar)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: efros_leung(e, (20, 20), 33), "a window of 33 does not fit an exemplar of 32 x 32"),
        (lambda e: efros_leung(e, (20, 20), 8), "odd and at least 3.*got 8"),
        (lambda e: efros_leung(e, (2, 20), 9), "at least 3 pixels a side, got 2 x 20"),
        (lambda e: efros_leung(e.expand(2, -1, -1, -1), (20, 20)), "one exemplar at a time, got 2"),
        (lambda e: efros_leung(e, (20, 20), 9, start=e), "start and known belong together"),
        (lambda e: efros_leung(e, (20, 20), 9, start=e, known=e[:, :1] > 0), r"start is \(1, 3, 20, 20\)"),
        (lambda e: efros_leung(e, (32, 32), 9, start=e, known=e[:, :1, :4] > 0), r"known is \(1, 1, 32, 32\)"),
        (lambda e: efros_leung(e, (32, 32), 9, start=e, known=e[:, :1] > 2), "nowhere true"),
        (lambda e: efros_leung(e, (32, 32), 9, start=e, known=255 * (e[:, :1] > 0)), "known are True and False"),
        (lambda e: efros_leung(e, (20,), 9), "a size is .height, width., got .20,."),
        (lambda e: wei_levoy(e, (32, 32), 5, 0), "levels must be at least 1, got 0"),
        (lambda e: wei_levoy(e, (30, 32), 5, 3), "multiples of 4, got 30 x 32"),
        (lambda e: wei_levoy(e, (32, 32), 9, 3), "does not fit the coarsest level, whose shorter side is 8"),
        (lambda e: wei_levoy(e * 255, (32, 32)), r"images lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(call, message, brick):
    with pytest.raises(ValueError, match=message):
        call(brick)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: efros_leung(e, (20.5, 20), 9),
        lambda e: efros_leung(e, (20, 20), 9.5),
        lambda e: efros_leung(e, (20, 20), 9, seed=0.5),
        lambda e: wei_levoy(e, (32, 32), 5, 1.5),
        lambda e: wei_levoy(e, (32, 32), 5, 2, 0.5),
    ],
)
def test_numbers_that_are_not_whole_are_refused(call, brick):
    with pytest.raises(
        TypeError, match=r"the (size|window|seed|levels|number of levels) is a whole number, got \d+\.5"
    ):
        call(brick)
