import inspect
import math
from functools import partial

import numpy as np
import pytest
import scipy.ndimage
import torch
import torchvision.transforms.functional as TF
from torch import nn
from torchvision.transforms import InterpolationMode

from course_lib import data, images
from course_lib.energy import Energy
from course_lib.preimage import minimize


def fit(image, target, steps, lr):
    optimizer = torch.optim.Adam(image.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (image() - target).square().mean().backward()
        optimizer.step()
        image.project()
    return float((image() - target).detach().abs().mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixels", "fourier", "latent"])
def test_each_unknown_can_become_a_photograph(kind):
    """Lucid's own test of a parametrisation: mean absolute error under 0.01 within 1000 Adam steps."""
    target = data.photograph("coffee", 64)
    image = {
        "pixels": lambda: images.Pixels(images.grey(64, 64)),
        "fourier": lambda: images.Fourier(64, 64),
        "latent": lambda: images.Latent(nn.Sigmoid(), torch.zeros(1, 3, 64, 64)),
    }[kind]()
    assert fit(image, target, 1000, 0.05) < 0.01


def test_pixels_stay_in_range_and_in_their_ball(generator):
    start = torch.rand(2, 3, 6, 6, generator=generator)
    image = images.Pixels(start, radius=0.1)
    with torch.no_grad():
        image.pixels += torch.randn(start.shape, generator=generator)
    image.project()
    assert 0 <= image().min() and image().max() <= 1
    assert (image() - start).abs().max() <= 0.1 + 1e-6


def test_pixels_do_not_write_into_their_start(generator):
    start = torch.rand(1, 3, 4, 4, generator=generator)
    before = start.clone()
    image = images.Pixels(start)
    with torch.no_grad():
        image.pixels += 1
    image.project()
    assert torch.equal(start, before)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.rand(3, 8, 8), ValueError, r"shape \(n, 3, h, w\), got \(3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), ValueError, "shape"),
        (torch.rand(0, 3, 8, 8), ValueError, "no images"),
        (torch.rand(1, 3, 8, 8) * 255, ValueError, r"lie in \[0, 1\], got"),
        (torch.full((1, 3, 8, 8), torch.nan), ValueError, "NaN"),
        (torch.full((1, 3, 8, 8), torch.inf), ValueError, "lie in"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "divide 8-bit values by 255"),
        ([[0.0]], TypeError, "torch tensor"),
    ],
)
def test_bad_images_are_refused(start, error, message):
    with pytest.raises(error, match=message):
        images.Pixels(start)


def test_fourier_starts_near_grey_and_depends_on_its_seed():
    a, b, c = (images.Fourier(32, 48, n=2, seed=seed)().detach() for seed in (0, 0, 1))
    assert a.shape == (2, 3, 32, 48)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert abs(float(a.mean()) - 0.5) < 0.05 and a.std() < 0.2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (8, 9)])
def test_fourier_takes_any_size(height, width):
    assert images.Fourier(height, width)().shape == (1, 3, height, width)


def test_fourier_decay_makes_smoother_images():
    rough, smooth = (images.Fourier(64, 64, decay=decay)() for decay in (0.0, 2.0))

    def roughness(x):
        return x.diff(dim=3).std() / x.std()

    assert roughness(smooth) < 0.5 * roughness(rough)


def test_a_latent_code_is_clipped():
    image = images.Latent(nn.Identity(), torch.full((1, 3, 2, 2), 5.0), low=0.0, high=1.0)
    image.project()
    assert image().max() == 1


def test_jitter_moves_pixels_and_loses_none(generator):
    x = torch.rand(2, 3, 8, 8, generator=generator)
    moved = images.jitter(3)(x, generator)
    assert not torch.equal(moved, x)
    assert torch.equal(moved.flatten().sort().values, x.flatten().sort().values)
    assert torch.equal(images.jitter(0)(x, generator), x)


def test_jitter_reaches_every_shift_and_no_more(generator):
    spot = torch.zeros(1, 1, 9, 9)
    spot[0, 0, 4, 4] = 1
    seen = {tuple(images.jitter(1)(spot, generator)[0, 0].nonzero()[0].tolist()) for _ in range(200)}
    assert seen == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}


def test_warps_that_do_nothing_do_nothing(generator):
    x = torch.rand(1, 3, 8, 12, generator=generator)
    assert torch.allclose(images.scale(1, 1)(x, generator), x, atol=1e-5)
    assert torch.allclose(images.rotate(0)(x, generator), x, atol=1e-5)


def test_scale_zooms_in_about_the_centre(generator):
    x = torch.zeros(1, 3, 40, 40)
    x[..., 10:30, 10:30] = 1  # a square that covers a quarter
    doubled = images.scale(2, 2)(x, generator)
    assert (doubled[..., 1:-1, 1:-1] == 1).all()
    assert abs(float(images.scale(1.5, 1.5)(x, generator).mean()) - 0.5625) < 0.02


def _centre_of_mass(x):
    """Right of and below the centre of the image, in pixels."""
    height, width = x.shape[2:]
    mass = x[0, 0] / x[0, 0].sum()
    return (
        float((mass.sum(0) * (torch.arange(width) - (width - 1) / 2)).sum()),
        float((mass.sum(1) * (torch.arange(height) - (height - 1) / 2)).sum()),
    )


def _spot(height, width, right, down, sigma=1.5):
    y, x = (torch.arange(float(side)) - (side - 1) / 2 for side in (height, width))
    return torch.exp(-((y[:, None] - down) ** 2 + (x - right) ** 2) / (2 * sigma**2)).expand(1, 3, height, width)


def test_scale_draws_every_factor_of_its_range_and_moves_along_both_sides_alike(generator):
    x = _spot(60, 40, 6, 9)
    factors = []
    for _ in range(60):
        right, down = _centre_of_mass(images.scale(0.7, 1.5)(x, generator))
        assert math.isclose(right / 6, down / 9, abs_tol=0.02)
        factors.append(down / 9)
    assert 0.69 < min(factors) < 0.75 and 1.45 < max(factors) < 1.51


@pytest.mark.parametrize("transform", [images.scale(0.4, 0.4), images.rotate(45)])
def test_what_comes_in_at_the_border_is_a_reflection(transform, generator):
    white = torch.ones(1, 3, 12, 20)
    assert torch.allclose(transform(white, generator), white)


def test_a_shrunken_image_is_continued_by_its_mirror_image(generator):
    x = torch.rand(1, 3, 8, 12, generator=generator)
    mirrored = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), (4, 4), (6, 6)], mode="symmetric"))
    assert torch.allclose(images.scale(0.5, 0.5)(x, generator), nn.functional.avg_pool2d(mirrored, 2), atol=1e-5)


def test_rotation_turns_an_oblong_image_as_torchvision_does(generator):
    """Inside the disc that no border reaches; the angle is read off a spot that turns with it."""
    x = nn.functional.interpolate(torch.rand(1, 3, 6, 10, generator=generator), size=(60, 100), mode="bicubic")
    y, z = (torch.arange(float(side)) - (side - 1) / 2 for side in (60, 100))
    disc = (y[:, None] ** 2 + z**2).sqrt() < 28
    spot, angles = _spot(60, 100, 20, 0), []
    for seed in range(60):
        turn = partial(images.rotate(45), generator=torch.Generator().manual_seed(seed))
        right, down = _centre_of_mass(turn(spot))
        assert math.isclose(math.hypot(right, down), 20, abs_tol=0.05)  # a turn keeps distances
        turn = partial(images.rotate(45), generator=torch.Generator().manual_seed(seed))
        angles.append(math.degrees(math.atan2(-down, right)))  # counter-clockwise
        expected = TF.rotate(x, angles[-1], InterpolationMode.BILINEAR)
        assert (turn(x) - expected)[..., disc].abs().max() < 0.01
    assert -45.1 < min(angles) < -38 and 38 < max(angles) < 45.1


def test_one_draw_changes_all_images_of_a_batch_alike(generator):
    x = torch.rand(1, 3, 12, 20, generator=generator)
    for transform in (images.jitter(3), images.scale(0.8, 1.2), images.rotate(30)):
        both = transform(torch.cat([x, x]), generator)
        assert torch.equal(both[0], both[1]) and not torch.equal(both[:1], x)


def test_compose_applies_in_order_and_shares_the_generator():
    x = torch.rand(1, 3, 16, 16)
    both = images.compose(images.jitter(4), images.scale(0.8, 1.2))
    by_hand = torch.Generator().manual_seed(5)
    expected = images.scale(0.8, 1.2)(images.jitter(4)(x, by_hand), by_hand)
    assert torch.equal(both(x, torch.Generator().manual_seed(5)), expected)
    assert repr(both) == "compose(jitter(4), scale(0.8, 1.2))"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: images.jitter(-1), ValueError, "jitter's number of pixels must be at least 0, got -1"),
        (lambda: images.jitter(2.5), TypeError, "jitter's number of pixels is a whole number, got 2.5"),
        (lambda: images.jitter(True), TypeError, "whole number, got True"),
        (lambda: images.scale(0, 1), ValueError, "scale's low must be above 0, got 0"),
        (lambda: images.scale(2, 1), ValueError, "scale's high must be at least 2, got 1"),
        (lambda: images.scale(1, float("nan")), ValueError, "scale's high must be at least 1, got nan"),
        (lambda: images.scale("1", 2), TypeError, "scale's low is a number, got '1'"),
        (lambda: images.rotate(-1), ValueError, "rotate's degrees must be at least 0, got -1"),
        (lambda: images.rotate(float("inf")), ValueError, "rotate's degrees must be at least 0, got inf"),
        (lambda: images.rotate(True), TypeError, "rotate's degrees is a number, got True"),
        (lambda: images.compose(images.jitter(1), 3), TypeError, r"transforms such as jitter\(4\), got 3"),
    ],
)
def test_bad_transforms_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5, 2.5])
def test_blur_is_scipys_gaussian(sigma, generator):
    x = torch.rand(2, 3, 20, 30, generator=generator, dtype=torch.float64)
    reach = math.ceil(3 * sigma)
    expected = scipy.ndimage.gaussian_filter(x.numpy(), sigma, mode="mirror", radius=reach, axes=(2, 3))
    assert np.abs(images.blur(sigma, every=1)(x, x, 1).numpy() - expected).max() < 1e-12


def test_blur_is_due_at_every_so_many_steps(generator):
    x = torch.rand(1, 3, 8, 8, generator=generator)
    for prior, due in ((images.blur(1.0, every=3), [3, 6]), (images.blur(1.0), [4])):
        assert [step for step in range(1, 8) if not torch.equal(prior(x, x, step), x)] == due


def test_blur_refuses_images_that_its_kernel_is_too_large_for():
    x = images.grey(7, 30)
    assert torch.allclose(images.blur(2.0, every=1)(x, x, 1), x)
    x = images.grey(30, 6)
    with pytest.raises(ValueError, match=r"blur\(2\) reaches 6 pixels, .* at least 7 x 7, got 30 x 6"):
        images.blur(2.0, every=1)(x, x, 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: images.blur(0), ValueError, "sigma must be above 0, got 0"),
        (lambda: images.blur(math.nan), ValueError, "sigma must be above 0, got nan"),
        (lambda: images.blur("1"), TypeError, "sigma is a number, got '1'"),
        (lambda: images.blur(1, every=0), ValueError, "every must be at least 1, got 0"),
        (lambda: images.blur(1, every=2.0), TypeError, "every is a whole number, got 2.0"),
        (lambda: images.clip_small_norm(101), ValueError, r"percent is in \[0, 100\], got 101"),
        (lambda: images.clip_small_norm(True), TypeError, "percent is a number, got True"),
        (lambda: images.clip_small_contribution(-1), ValueError, r"percent is in \[0, 100\], got -1"),
        (lambda: images.bounded_range(0), ValueError, "limit must be above 0, got 0"),
        (lambda: images.bounded_range(None), TypeError, "limit is a number, got None"),
    ],
)
def test_bad_priors_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_clipping_greys_the_given_share_of_the_least_pixels(generator):
    x = torch.rand(2, 3, 20, 20, generator=generator)
    gradient = torch.randn(2, 3, 20, 20, generator=generator)
    for prior, size in [
        (images.clip_small_norm(30), (x - 0.5).norm(dim=1)),
        (images.clip_small_contribution(30), ((x - 0.5) * gradient).sum(1).abs()),
    ]:
        grey = (prior(x, gradient, 1) == 0.5).all(1)
        assert grey.flatten(1).sum(1).tolist() == [120, 120]
        for i in range(2):
            assert size[i][grey[i]].max() < size[i][~grey[i]].min()


def test_bounded_range_projects_onto_the_ball_and_leaves_what_is_inside(generator):
    x = torch.rand(2, 3, 20, 20, generator=generator)
    norm = (x - 0.5).norm(dim=1)
    bounded = images.bounded_range(0.4)(x, x, 1)
    inside = (norm < 0.4)[:, None].expand_as(x)
    assert inside.any() and not inside.all()
    assert torch.allclose((bounded - 0.5).norm(dim=1), norm.clamp(max=0.4), atol=1e-6)
    assert torch.equal(bounded[inside], (0.5 + (x - 0.5))[inside])
    cosine = torch.nn.functional.cosine_similarity(bounded - 0.5, x - 0.5, dim=1)
    assert torch.allclose(cosine, torch.ones(2, 20, 20), atol=1e-5)  # the nearest point lies on the same ray


def test_the_bound_of_the_range_is_the_papers(generator):
    x = torch.rand(1, 3, 9, 9, generator=generator)
    assert torch.equal(images.bounded_range()(x, x, 1), images.bounded_range(160 / 255)(x, x, 1))
    assert (images.bounded_range()(torch.ones_like(x), x, 1) - 0.5).norm(dim=1).max() < 160 / 255 + 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_priors_transforms_and_sizes_keep_the_precision(dtype, generator):
    x = torch.rand(2, 3, 12, 16, generator=generator)
    gradient = torch.randn(2, 3, 12, 16, generator=generator)
    priors = [images.blur(1.0, every=1), images.clip_small_norm(30), images.clip_small_contribution(30)]
    for prior in [*priors, images.bounded_range()]:
        got = prior(x.to(dtype), gradient.to(dtype), 1)
        assert got.dtype == dtype
        assert (got.double() - prior(x, gradient, 1)).abs().median() < 0.01
    for transform in (images.jitter(3), images.scale(0.8, 1.2), images.rotate(30)):
        got, expected = (transform(each, torch.Generator().manual_seed(0)) for each in (x.to(dtype), x))
        assert got.dtype == dtype and (got.double() - expected).abs().max() < 0.05
    got = images.resize(x.to(dtype), (6, 9))
    assert got.dtype == dtype and (got.double() - images.resize(x, (6, 9))).abs().max() < 0.01


def test_a_centred_image_begins_at_its_start():
    start = data.photograph("coffee", 48)
    assert float((images.Centred(start)() - start).detach().abs().max()) < 0.05


def test_a_centred_image_moves_most_in_its_centre_though_adam_divides_by_the_gradient():
    start = images.grey(48, 48)
    image = images.Centred(start, sigma=0.3)
    fit(image, torch.ones_like(start), 30, 0.05)  # wants every pixel alike to be white
    moved = (image() - start).detach().abs().mean(1)[0]
    assert moved[20:28, 20:28].mean() > 0.3
    assert moved[:4, :4].mean() < 0.02
    with torch.no_grad():
        image.change.spectrum.mul_(1e3)
    assert 0 <= image().min() and image().max() <= 1


def test_a_centre_of_no_width_is_refused():
    with pytest.raises(ValueError, match="sigma must be above 0, got 0"):
        images.Centred(images.grey(8, 8), sigma=0)


def test_a_centre_is_a_gaussian_of_the_distance_in_half_sides():
    start = data.photograph("coffee", 40)[..., :30, :]
    for options, sigma in (({}, 0.5), ({"sigma": 0.3}, 0.3)):
        image = images.Centred(start, **options)
        with torch.no_grad():
            image.change.spectrum.zero_()
            assert torch.allclose(image(), start.clamp(0.01, 0.99), atol=1e-6)
            image.change.spectrum[0, :, 0, 0, 0] = 0.5  # the constant part
            added = (image().double().logit() - start.clamp(0.01, 0.99).double().logit())[0, 0]
        y, x = np.meshgrid((np.arange(30) - 14.5) / 15, (np.arange(40) - 19.5) / 20, indexing="ij")
        bump = np.exp(-(y**2 + x**2) / (2 * sigma**2))
        assert np.allclose(added / added[15, 20], bump / bump[15, 20], atol=1e-3)


def test_unbounded_pixels_meet_their_start_to_a_256th(generator):
    start = torch.rand(1, 3, 8, 8, generator=generator).round(decimals=1)
    image = images.Unbounded(start)
    assert torch.allclose(image(), start.clamp(1 / 256, 255 / 256), atol=1e-6)


def test_resize_averages_as_torchvision_does(generator):
    x = torch.rand(1, 3, 20, 33, generator=generator)
    for size in ([5, 7], [40, 50]):
        assert torch.allclose(images.resize(x, size), TF.resize(x, size, antialias=True), atol=1e-6)


# ---------------------------------------------------------------- Fourier, against Lucid's own lines


def _lucid(spectrum, height, width, decay):
    """lucid.optvis.param (spatial.fft_image and color.to_valid_rgb), in numpy, without the division by 4."""
    color_correlation_svd_sqrt = np.asarray([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    max_norm_svd_sqrt = np.max(np.linalg.norm(color_correlation_svd_sqrt, axis=0))
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.fftfreq(width)[: width // 2 + 1]
    freqs = np.sqrt(fx * fx + fy * fy)
    scale = 1.0 / np.maximum(freqs, 1.0 / max(width, height)) ** decay
    scale *= np.sqrt(width * height)
    channels = np.fft.irfft2(scale * spectrum, s=(height, width))  # (3, height, width)
    color_correlation_normalized = color_correlation_svd_sqrt / max_norm_svd_sqrt
    flat = channels.reshape(3, -1).T @ color_correlation_normalized.T
    return 1 / (1 + np.exp(-flat.T.reshape(3, height, width)))


@pytest.mark.parametrize("height, width, decay", [(8, 12, 1.0), (12, 6, 0.5), (9, 10, 2.0)])
def test_fourier_is_lucids_parametrisation(height, width, decay, generator):
    image = images.Fourier(height, width, decay=decay).double()
    with torch.no_grad():
        image.spectrum.mul_(20)
    spectrum = torch.view_as_complex(image.spectrum.detach())[0].numpy()
    assert np.allclose(image().detach()[0], _lucid(spectrum, height, width, decay), atol=1e-6)


def test_fourier_starts_from_lucids_noise_and_decays_by_one():
    spectrum = images.Fourier(64, 64).spectrum.detach()
    assert abs(spectrum.std() - 0.01) < 3e-4 and abs(spectrum.mean()) < 3e-4
    assert torch.equal(images.Fourier(8, 8)(), images.Fourier(8, 8, decay=1.0, seed=0)())


# ---------------------------------------------------------------- Phase, against numpy's Fourier transforms


@pytest.mark.parametrize("height, width", [(8, 12), (9, 7), (6, 5), (1, 4)])
def test_no_phase_changes_the_magnitudes(height, width, generator):
    y = torch.randn(3, height, width, generator=generator).double()
    magnitude = torch.from_numpy(np.abs(np.fft.rfft2(y.numpy())))
    image = images.Phase(height, width, n=2, magnitude=magnitude).double()
    for _ in range(2):
        found = np.abs(np.fft.rfft2(image.channels().detach().numpy()))
        assert np.allclose(found, magnitude, atol=1e-5)
        with torch.no_grad():
            image.phase.normal_(generator=generator)


def test_an_image_of_phases_is_the_sum_of_waves(generator):
    """The full spectrum, its mirror half written out, through numpy's inverse transform: a real image, and that one."""
    image = images.Phase(6, 9, seed=3).double()
    half = image.magnitude.numpy() * np.exp(1j * image.phase.detach()[0].numpy())
    full = np.zeros((3, 6, 9), complex)
    for i in range(6):
        for j in range(1, 5):
            full[:, i, j], full[:, -i, -j] = half[:, i, j], half[:, i, j].conj()
        turn = image.phase.detach()[0, :, i, 0] - image.phase.detach()[0, :, -i, 0]
        full[:, i, 0] = image.magnitude[:, i, 0].numpy() * np.exp(1j * turn.numpy())
    channels = np.fft.ifft2(full)
    assert np.abs(channels.imag).max() < 1e-12
    colours = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])  # Lucid's
    mixed = np.tensordot(colours, channels.real, 1)
    assert np.allclose(image().detach()[0], 1 / (1 + np.exp(-4 * mixed)), atol=1e-6)


def test_the_gradient_of_phases_is_right():
    image = images.Phase(3, 4, n=2).double()
    phase = image.phase.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: torch.func.functional_call(image, {"phase": p}, ()), phase)


def test_the_law_has_variance_1_and_falls_as_it_says():
    law = images.magnitudes(16, 24, 1.5).double()
    assert float(law[0, 0]) == 0
    assert float(law[0, 2] / law[0, 8]) == pytest.approx(4**1.5, rel=1e-5)
    assert float(law[4, 0] / law[8, 0]) == pytest.approx(2**1.5, rel=1e-5)
    channels = images.Phase(16, 24, decay=1.5, contrast=1).channels()
    assert torch.allclose(channels.var((2, 3), unbiased=False), torch.ones(1, 3), atol=1e-5)


def test_the_law_is_that_of_photographs():
    """The exponent that fits the brightness of each of the six, from 2 cycles an image to half of the highest."""
    frequency = (torch.fft.fftfreq(224)[:, None] ** 2 + torch.fft.rfftfreq(224) ** 2).sqrt()
    seen = (frequency >= 2 / 224) & (frequency <= 0.25)
    exponents = []
    for name in data.photographs():
        strength = np.abs(np.fft.rfft2(data.photograph(name, 224).mean(1)[0].numpy()))[seen]
        exponents.append(-np.polyfit(np.log(frequency[seen].numpy()), np.log(strength), 1)[0])
    assert 1 < min(exponents) and max(exponents) < 1.6
    assert abs(np.mean(exponents) - inspect.signature(images.Phase).parameters["decay"].default) < 0.25


def test_phases_are_drawn_from_their_seed_and_contrast_follows_the_magnitude():
    a, b, c = (images.Phase(32, 48, n=2, seed=seed)().detach() for seed in (0, 0, 1))
    assert a.shape == (2, 3, 32, 48) and torch.equal(a, b) and not torch.equal(a, c) and not torch.equal(a[0], a[1])
    law = images.magnitudes(32, 48).expand(3, -1, -1)
    assert torch.equal(images.Phase(32, 48, magnitude=0.5 * law)(), images.Phase(32, 48, contrast=0.5)())
    assert torch.equal(images.Phase(32, 48)(), images.Phase(32, 48, contrast=0.5)())
    assert torch.allclose(images.Phase(32, 48, contrast=2).channels(), 4 * images.Phase(32, 48).channels(), atol=1e-5)


def test_magnitudes_stay_while_an_image_is_sought():
    image, target = images.Phase(16, 16), images.Phase(16, 16, seed=1)()[:1].detach()
    before = torch.fft.rfft2(image.channels().detach()).abs()
    far = float((image().detach() - target).abs().mean())
    assert fit(image, target, 300, 0.1) < 0.2 * far
    assert torch.allclose(torch.fft.rfft2(image.channels().detach()).abs(), before, atol=1e-3)


# ---------------------------------------------------------------- sizes and radii


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: images.Pixels(images.grey(4, 4), radius=-0.1), ValueError, "radius must be at least 0, got -0.1"),
        (lambda: images.Pixels(images.grey(4, 4), radius=math.nan), ValueError, "radius must be at least 0, got nan"),
        (lambda: images.Pixels(images.grey(4, 4), radius=True), TypeError, "radius is a number, got True"),
        (lambda: images.Pixels(images.grey(4, 4), radius="1"), TypeError, "radius is a number, got '1'"),
        (lambda: images.Fourier(0, 4), ValueError, "height must be at least 1, got 0"),
        (lambda: images.Fourier(4, 4.0), TypeError, "width is a whole number, got 4.0"),
        (lambda: images.Fourier(4, 4, n=True), TypeError, "n is a whole number, got True"),
        (lambda: images.Fourier(4, 4, decay="1"), TypeError, "decay is a number, got '1'"),
        (lambda: images.Fourier(4, 4, decay=math.inf), ValueError, "decay must be finite, got inf"),
        (lambda: images.Phase(4, 0), ValueError, "width must be at least 1, got 0"),
        (lambda: images.Phase(4, 4, decay=math.nan), ValueError, "decay must be finite, got nan"),
        (lambda: images.Phase(4, 4, contrast=-1), ValueError, "contrast must be at least 0, got -1"),
        (lambda: images.Phase(4, 4, magnitude=1.0), TypeError, "a magnitude is a floating tensor, got float"),
        (lambda: images.Phase(4, 4, magnitude=torch.ones(3, 4, 3, dtype=int)), TypeError, "tensor, got torch.int64"),
        (lambda: images.Phase(4, 4, magnitude=-torch.ones(3, 4, 3)), ValueError, "finite and at least 0"),
        (lambda: images.Phase(4, 4, magnitude=torch.ones(3, 4, 4)), ValueError, r"shape \(3, 4, 3\), got \(3, 4, 4\)"),
        (lambda: images.magnitudes(0, 4), ValueError, "height must be at least 1, got 0"),
        (lambda: images.grey(4, -4), ValueError, "width must be at least 1, got -4"),
        (lambda: images.grey(4, 4, n="2"), TypeError, "n is a whole number, got '2'"),
        (lambda: images.Centred(images.grey(4, 4), sigma=math.nan), ValueError, "sigma must be above 0, got nan"),
        (lambda: images.Centred(images.grey(4, 4), sigma=None), TypeError, "sigma is a number, got None"),
        (lambda: images.resize(images.grey(4, 4), (4,)), ValueError, r"a size is \(height, width\), got \(4,\)"),
        (lambda: images.resize(images.grey(4, 4), (4, 0)), ValueError, "width must be at least 1, got 0"),
        (lambda: images.resize(images.grey(4, 4), (4.5, 4)), TypeError, "height is a whole number, got 4.5"),
        (lambda: images.resize(torch.zeros(3, 4, 4), (4, 4)), ValueError, r"shape \(n, c, h, w\), got \(3, 4, 4\)"),
    ],
)
def test_bad_sizes_and_radii_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("size", [np.int64(5), torch.tensor(5)])
def test_sizes_may_come_from_numpy_and_torch(size):
    assert images.grey(size, 4).shape == images.Fourier(size, 4)().shape == (1, 3, 5, 4)
    assert images.resize(images.grey(8, 8), (size, 4)).shape == (1, 3, 5, 4)


def test_priors_see_the_gradient_and_the_number_of_the_step():
    seen = []

    def prior(pixels, gradient, step):
        seen.append((step, float(gradient.max())))
        return pixels - 0.1

    image = images.Pixels(images.grey(2, 2), priors=[prior, prior])
    image.project()
    assert not seen  # without a gradient there was no step
    image.pixels.grad = torch.ones_like(image.pixels)
    image.project()
    assert seen == [(2, 1.0), (2, 1.0)] and torch.allclose(image(), torch.tensor(0.3))


def test_no_radius_is_no_ball_and_a_radius_of_nothing_no_change():
    for radius, expected in ((None, 0.9), (0, 0.5)):
        image = images.Pixels(images.grey(2, 2), radius=radius)
        with torch.no_grad():
            image.pixels += 0.4
        image.project()
        assert torch.allclose(image(), torch.tensor(expected))


# ---------------------------------------------------------------- under any grad mode, and a generator that stays yours


class Painter(nn.Module):
    """A generator whose modes and weights matter."""

    def __init__(self, form=lambda x: x):
        super().__init__()
        self.form, self.norm, self.drop = form, nn.BatchNorm1d(4), nn.Dropout(0.5)
        with torch.no_grad():
            self.norm.running_mean.fill_(0.5)

    def forward(self, code):
        x = self.drop(self.norm(code)).sigmoid()
        return self.form(x[:, :3, None, None].expand(-1, -1, 2, 2) * x[:, 3:, None, None])


WHITE = Energy.of("to white", lambda activations, image: (image - 1).square().sum())


UNKNOWNS = {
    "pixels": lambda start: images.Pixels(start, radius=0.3),
    "unbounded": images.Unbounded,
    "fourier": lambda start: images.Fourier(2, 2),
    "phase": lambda start: images.Phase(5, 6),  # smaller ones have no phase to choose
    "centred": images.Centred,
    "latent": lambda start: images.Latent(PAINTER, start.flatten(1)[:, :4], low=start.new_zeros(4), high=1.0),
}
PAINTER = Painter()


@pytest.mark.parametrize("name", UNKNOWNS)
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_an_unknown_made_where_gradients_are_off_is_sought_there(name, context):
    with context():
        found = minimize(nn.Identity(), WHITE, UNKNOWNS[name](images.grey(2, 2)), steps=5)
    expected = minimize(nn.Identity(), WHITE, UNKNOWNS[name](images.grey(2, 2)), steps=5)
    assert torch.equal(found.image, expected.image) and found.total[-1] < found.total[0]


def test_the_generator_of_a_latent_image_is_left_as_it_was():
    generator = Painter().train()
    generator.norm.weight.grad = torch.full((4,), 7.0)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    image = images.Latent(generator, torch.zeros(1, 4))
    found = minimize(nn.Identity(), WHITE, image, steps=5)
    expected = minimize(nn.Identity(), WHITE, images.Latent(Painter().eval(), torch.zeros(1, 4)), steps=5)
    assert torch.equal(found.image, expected.image)
    assert all(module.training for module in generator.modules())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert bool((generator.norm.weight.grad == 7).all()) and generator.norm.bias.grad is None
    assert [name for name, _ in image.named_parameters()] == ["code"]  # nothing else is sought


@pytest.mark.parametrize("form", [lambda x: (x,), lambda x: {"image": x}])
def test_an_image_is_found_in_whatever_the_generator_outputs(form):
    code = torch.zeros(1, 4)
    assert torch.equal(images.Latent(Painter(form), code)(), images.Latent(Painter(), code)())


def test_a_code_is_clipped_at_either_end_by_itself():
    code = torch.tensor([[-3.0, 0.2, 0.5, 4.0]])
    for ends, expected in (
        ({"low": 0.0}, [[0, 0.2, 0.5, 4]]),
        ({"high": torch.tensor([1.0, 0.1, 1, 3])}, [[-3, 0.1, 0.5, 3]]),
        ({}, code.tolist()),
    ):
        image = images.Latent(Painter(), code, **ends)
        image.project()
        assert torch.allclose(image.code, torch.tensor(expected))
    assert code.tolist()[0][0] == -3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"generator": abs}, TypeError, "a generator is a torch.nn.Module"),
        ({"code": torch.zeros(1, 4, dtype=torch.int64)}, TypeError, "a code is a floating tensor, got torch.int64"),
        ({"code": [0.0]}, TypeError, "a code is a floating tensor, got list"),
        ({"code": torch.full((1, 4), math.nan)}, ValueError, "not finite"),
        ({"low": 1.0, "high": 0.0}, ValueError, "low is above high"),
        ({"low": "0"}, TypeError, "low is a number, got '0'"),
        ({"high": math.nan}, ValueError, "high must be finite"),
    ],
)
def test_bad_latent_images_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        images.Latent(**{"generator": Painter(), "code": torch.zeros(1, 4)} | arguments)


def test_a_generator_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        generator = Painter()
    with pytest.raises(ValueError, match="the generator was made under torch.inference_mode"):
        images.Latent(generator, torch.zeros(1, 4))
