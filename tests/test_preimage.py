import math
import signal
from functools import partial

import pytest
import torch
from torch import nn

from course_lib.energy import Energy, activation, alpha_norm, distance, total_variation
from course_lib.images import Fourier, Pixels, grey, jitter
from course_lib.preimage import Interrupted, minimize, minimize_in_stages
from course_lib.taps import Taps

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.02),
    "sgd": partial(torch.optim.SGD, lr=0.3, momentum=0.9),
    "lbfgs": partial(torch.optim.LBFGS, lr=1, max_iter=5, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_known_answer_of_a_quadratic(optimizer, generator):
    """argmin |x - t|^2 / |t|^2 + |x - 1/2|^2 / |t|^2 is the middle between t and grey."""
    target = 0.2 + 0.6 * torch.rand(1, 3, 6, 6, generator=generator)
    pull = alpha_norm(2) / float(target.square().sum())
    result = minimize(
        nn.Identity(), distance(target), Pixels(grey(6, 6)), regularizer=pull, steps=600,
        optimizer=OPTIMIZERS[optimizer], progress=False,
    )  # fmt: skip
    assert torch.allclose(result.image, (target + 0.5) / 2, atol=2e-3)
    assert result.total[-1] < result.total[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_code_distance_shrinks_on_a_network(optimizer, coursenet, scenes):
    features = Taps(coursenet, "relu2")
    code = features(scenes.images[:2])
    result = minimize(
        features,
        distance(code),
        Fourier(96, 96, n=2),
        steps=30,
        optimizer=OPTIMIZERS[optimizer],
        progress=False,
    )
    before, after = result.total[0], result.total[-1]
    assert after < (0.9 if optimizer == "sgd" else 0.5) * before


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_same_seed_gives_the_same_bits(optimizer, coursenet):
    def run(seed):
        return minimize(
            Taps(coursenet, "conv4"), -1 * activation("conv4", 3), Pixels(grey(96, 96)), transform=jitter(8),
            regularizer=1e-4 * total_variation(), steps=8, optimizer=OPTIMIZERS[optimizer], seed=seed, progress=False,
        )  # fmt: skip

    a, b, c = run(0), run(0), run(1)
    assert torch.equal(a.image, b.image) and a.energy == b.energy
    assert not torch.equal(a.image, c.image)


def test_the_global_random_state_is_left_alone(coursenet):
    before = torch.get_rng_state()
    minimize(coursenet, -1 * activation("", 3), Fourier(96, 96), transform=jitter(8), steps=2, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_transform_with_lbfgs_is_refused(coursenet):
    with pytest.raises(ValueError, match=r"L-BFGS needs the same function.*jitter\(4\) is random"):
        minimize(coursenet, activation("", 0), Fourier(96, 96), transform=jitter(4), optimizer=torch.optim.LBFGS)


def test_a_plain_function_is_a_transform_and_a_ready_optimizer_an_optimizer(generator):
    target = torch.rand(1, 3, 4, 6, generator=generator)
    image = Pixels(grey(4, 6))
    result = minimize(
        nn.Identity(), distance(target), image, transform=lambda x: x.flip(3), steps=300,
        optimizer=torch.optim.Adam(image.parameters(), lr=0.02), progress=False,
    )  # fmt: skip
    assert torch.allclose(result.image.flip(3), target, atol=1e-2)


def test_the_regularizer_sees_the_picture_before_the_transform():
    seen = []
    spy = Energy.of("spy", lambda activations, image: seen.append(image.detach().clone()) or image.sum() * 0)
    start = torch.rand(1, 3, 4, 4)
    minimize(
        nn.Identity(),
        0 * activation("", 0),
        Pixels(start),
        regularizer=spy,
        transform=lambda x: x * 0,
        steps=1,
        progress=False,
    )
    assert torch.equal(seen[0], start)


def test_energy_is_recorded_by_term_once_a_step(coursenet):
    for make in OPTIMIZERS.values():
        result = minimize(
            coursenet, -1 * activation("", 2), Fourier(96, 96), regularizer=1e-3 * total_variation(), steps=3,
            optimizer=make, progress=False,
        )  # fmt: skip
        assert {name: len(values) for name, values in result.energy.items()} == {
            "activation('', 2)": 3,
            "total_variation(beta=2)": 3,
        }
        assert len(result.total) == 3


def test_a_term_of_the_loss_and_of_the_regularizer_may_share_a_name():
    result = minimize(
        nn.Identity(),
        alpha_norm(2),
        Pixels(torch.rand(1, 3, 4, 4)),
        regularizer=alpha_norm(2),
        steps=1,
        progress=False,
    )
    assert len(result.energy) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stops_the_loop_and_is_named(bad, coursenet):
    with pytest.raises(FloatingPointError, match=r"activation\('', 1\) became (nan|-inf) at step 0"):
        minimize(coursenet, alpha_norm() + bad * activation("", 1), Fourier(96, 96), steps=3, progress=False)


def test_ctrl_c_holds_what_there_is(generator, request):
    class Interrupts(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 4:
                signal.raise_signal(signal.SIGINT)
            return x

    target = torch.rand(1, 3, 4, 4, generator=generator)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(Interrupted, match="`found` holds the result so far") as stop:
        minimize(Interrupts(), distance(target), Pixels(grey(4, 4)), steps=100_000, progress=False)
    assert isinstance(stop.value, KeyboardInterrupt)
    result = stop.value.found
    assert 3 <= len(result.total) < 100
    assert torch.isfinite(result.image).all()


def test_no_steps_give_the_start(generator):
    start = torch.rand(1, 3, 4, 4, generator=generator)
    result = minimize(nn.Identity(), alpha_norm(), Pixels(start), steps=0, progress=False)
    assert torch.equal(result.image, start) and result.energy == {} and result.total == []
    with pytest.raises(ValueError, match="steps must be at least 0"):
        minimize(nn.Identity(), alpha_norm(), Pixels(start), steps=-1)


@pytest.mark.parametrize(
    ("lasts", "progress", "seen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_progress_bar_appears_when_a_run_lasts(lasts, progress, seen, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("course_lib.progress.DELAY", 1e-9 if lasts else 60.0)
    minimize(nn.Identity(), alpha_norm(), Pixels(grey(4, 4)), steps=2, progress=progress)
    assert ("it/s" in capsys.readouterr().err) is seen


def test_the_network_gets_no_gradient_and_no_hook(coursenet):
    minimize(Taps(coursenet, "conv2"), -1 * activation("conv2", 0), Fourier(96, 96), steps=2, progress=False)
    assert all(p.grad is None for p in coursenet.parameters())
    assert not any(m._forward_hooks for m in coursenet.modules())


def test_unknown_layer_in_the_energy_is_named(coursenet):
    with pytest.raises(ValueError, match=r"no activation of layer 'conv3'.*choose from conv2"):
        minimize(Taps(coursenet, "conv2"), activation("conv3", 0), Fourier(96, 96), steps=1, progress=False)


def test_stages_follow_one_another(generator):
    target = torch.rand(1, 3, 6, 6, generator=generator)
    rates = (0.3, 0.1, 0.03)
    image = Pixels(grey(6, 6))
    stages = [(partial(torch.optim.SGD, lr=rate, momentum=0.9), 30) for rate in rates]
    found = minimize_in_stages(nn.Identity(), distance(target), image, stages, progress=False)
    assert len(found.total) == 90
    one_by_one = Pixels(grey(6, 6))
    for optimizer, steps in stages:
        last = minimize(nn.Identity(), distance(target), one_by_one, optimizer=optimizer, steps=steps, progress=False)
    assert torch.equal(found.image, last.image) and found.total[60:] == last.total


def test_no_stage_is_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        minimize_in_stages(nn.Identity(), distance(grey(4, 4)), Pixels(grey(4, 4)), [])
