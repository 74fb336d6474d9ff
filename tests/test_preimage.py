import math
import signal
import time
from functools import partial

import pytest
import torch
from torch import nn

from course_lib import models
from course_lib.energy import Energy, activation, alpha_norm, distance, squared_norm, total_variation
from course_lib.images import Fourier, Pixels, grey, jitter
from course_lib.models import RandomFilters
from course_lib.preimage import ADAM, Interrupted, Preimage, in_turn, minimize, minimize_in_stages
from course_lib.taps import Named, Taps

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


@pytest.mark.slow
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
    minimize(coursenet, -1 * activation("", 3), Fourier(96, 96), transform=jitter(8), steps=2)
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
        minimize(coursenet, alpha_norm() + bad * activation("", 1), Fourier(96, 96), steps=3)


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
        minimize(Interrupts(), distance(target), Pixels(grey(4, 4)), steps=100_000)
    assert isinstance(stop.value, KeyboardInterrupt)
    result = stop.value.found
    assert 3 <= len(result.total) < 100
    assert torch.isfinite(result.image).all()


def test_no_steps_give_the_start(generator):
    start = torch.rand(1, 3, 4, 4, generator=generator)
    result = minimize(nn.Identity(), alpha_norm(), Pixels(start), steps=0)
    assert torch.equal(result.image, start) and result.energy == {} and result.total == []
    with pytest.raises(ValueError, match="steps must be at least 0"):
        minimize(nn.Identity(), alpha_norm(), Pixels(start), steps=-1)


@pytest.mark.parametrize(
    ("lasts", "progress", "seen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_progress_bar_appears_when_a_run_lasts(lasts, progress, seen, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("course_lib.progress.DELAY", 1e-9 if lasts else 60.0)

    def slow(x):  # tqdm draws at most ten times a second
        time.sleep(0.2)
        return x

    minimize(slow, alpha_norm(), Pixels(grey(4, 4)), steps=2, progress=progress)
    assert ("it/s" in capsys.readouterr().err) is seen


def test_the_network_gets_no_gradient_and_no_hook(coursenet):
    minimize(Taps(coursenet, "conv2"), -1 * activation("conv2", 0), Fourier(96, 96), steps=2)
    assert all(p.grad is None for p in coursenet.parameters())
    assert not any(m._forward_hooks for m in coursenet.modules())


def test_unknown_layer_in_the_energy_is_named(coursenet):
    with pytest.raises(ValueError, match=r"no layer 'conv9' \(did you mean .*\) for the term activation\('conv9', 0\)"):
        minimize(coursenet, activation("conv9", 0), Fourier(96, 96), steps=1)
    with pytest.raises(
        ValueError, match=r"no layer 'conv3'.* for the term activation\('conv3', 0\); choose from conv2"
    ):
        minimize(lambda x: {"conv2": x}, activation("conv3", 0), Fourier(96, 96), steps=1)


def test_an_energy_fetches_its_layers(coursenet):
    """The walk of a layer's name: it is said once, in the energy, whatever the features are."""
    energy = -1 * activation("conv3", 3) + 0.1 * squared_norm("conv1")
    assert energy.layers == ("conv3", "conv1")
    found = [
        minimize(features, energy, Fourier(96, 96), steps=3)
        for features in (coursenet, Taps(coursenet, "conv1", "conv3"), Taps(coursenet, "conv3"))
    ]
    assert list(found[0].energy) == ["activation('conv3', 3)", "squared_norm('conv1')"]
    assert all(torch.equal(one.image, found[0].image) for one in found)


def test_a_regularizer_may_be_over_any_layer(coursenet):
    loss = -1 * activation("fc8", 3)
    plain = minimize(coursenet, loss, Fourier(96, 96), steps=3)
    held = minimize(coursenet, loss, Fourier(96, 96), regularizer=0.1 * squared_norm("conv3"), steps=3)
    assert list(held.energy) == ["activation('fc8', 3)", "squared_norm('conv3')"]
    assert held.energy["squared_norm('conv3')"][-1] < held.energy["squared_norm('conv3')"][0]
    assert not torch.equal(held.image, plain.image)


def test_the_output_may_be_wrapped(coursenet):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = coursenet

        def forward(self, x):
            return {"loss": None, "logits": self.net(x)}

    plain, wrapped = (minimize(net, -1 * activation("", 3), Fourier(96, 96), steps=2) for net in (coursenet, Wrapped()))
    assert torch.equal(plain.image, wrapped.image)


def test_an_image_may_hold_frozen_parts(generator):
    image = Pixels(grey(4, 4))
    image.frozen = nn.Linear(2, 2).requires_grad_(False)  # as a generator that makes the image
    found = minimize(nn.Identity(), alpha_norm(2), image, steps=2)
    assert found.image.shape == (1, 3, 4, 4) and image.frozen.weight.grad is None


def test_each_step_is_projected():
    """Without project() a step beyond white would stay there: |x - 2|^2 is least at 2."""
    away = distance(torch.full((1, 3, 4, 4), 2.0))
    result = minimize(nn.Identity(), away, Pixels(grey(4, 4)), steps=5, optimizer=partial(torch.optim.SGD, lr=100.0))
    assert torch.equal(result.image, torch.ones(1, 3, 4, 4))


def test_the_gradients_of_a_network_in_training_stay(generator):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)
    )
    net(torch.rand(2, 3, 8, 8, generator=generator)).sum().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = [minimize(net, -1 * activation("", 1), Fourier(8, 8), steps=3).image for _ in range(2)]
    assert torch.equal(*found)
    assert all(torch.equal(p.grad, before) for p, before in zip(net.parameters(), gradients, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_minimize_works_where_gradients_are_off(context, coursenet):
    plain = minimize(coursenet, -1 * activation("conv3", 3), Fourier(96, 96), steps=2)
    image = Fourier(96, 96)
    with context():
        assert torch.equal(minimize(coursenet, -1 * activation("conv3", 3), image, steps=2).image, plain.image)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("allow_tf32", [True, False])
def test_cudnn_stays_as_the_user_chose(enabled, allow_tf32):
    seen = []

    def features(x):
        cudnn = torch.backends.cudnn
        seen.append((cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic))
        return x

    with torch.backends.cudnn.flags(enabled=enabled, allow_tf32=allow_tf32, benchmark=True):
        minimize(features, alpha_norm(), Pixels(grey(4, 4)), steps=1)
        assert torch.backends.cudnn.benchmark
    assert seen == [(enabled, allow_tf32, False, True)]


def test_a_mistyped_option_is_blamed_on_the_call_that_was_made():
    with pytest.raises(
        TypeError, match=r"minimize_in_stages\(\) has no option 'regulariser' \(did you mean 'regularizer'"
    ):
        minimize_in_stages(nn.Identity(), alpha_norm(), Pixels(grey(4, 4)), [(ADAM, 1)], regulariser=alpha_norm())


def test_a_preimage_is_shown_in_a_line():
    found = minimize(nn.Identity(), alpha_norm(2), Pixels(grey(4, 4) + 0.1), steps=2)
    assert repr(found) == f"Preimage(image (1, 3, 4, 4), 2 steps, energy 0.48 -> {found.total[1]:.4g})"
    assert repr(Preimage(grey(2, 2), {})) == "Preimage(image (1, 3, 2, 2), 0 steps)"


def test_stages_follow_one_another(generator):
    target = torch.rand(1, 3, 6, 6, generator=generator)
    rates = (0.3, 0.1, 0.03)
    image = Pixels(grey(6, 6))
    stages = [(partial(torch.optim.SGD, lr=rate, momentum=0.9), 30) for rate in rates]
    found = minimize_in_stages(nn.Identity(), distance(target), image, stages)
    assert len(found.total) == 90
    one_by_one = Pixels(grey(6, 6))
    for optimizer, steps in stages:
        last = minimize(nn.Identity(), distance(target), one_by_one, optimizer=optimizer, steps=steps)
    assert torch.equal(found.image, last.image) and found.total[60:] == last.total


def test_stages_share_their_options(generator):
    target = distance(torch.rand(1, 3, 6, 6, generator=generator))
    held = minimize_in_stages(nn.Identity(), target, Pixels(grey(6, 6)), [(ADAM, 2)] * 2, regularizer=alpha_norm(2))
    assert list(held.energy) == ["distance", "alpha_norm(alpha=2)"]


def test_ctrl_c_in_a_later_stage_holds_all_stages(request):
    class Interrupts(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 6:
                signal.raise_signal(signal.SIGINT)
            return x

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    image = Pixels(grey(4, 4) + 0.1)
    with pytest.raises(Interrupted) as stop:
        minimize_in_stages(Interrupts(), alpha_norm(2), image, [(ADAM, 3), (ADAM, 3)])
    assert len(stop.value.found.total) == 5  # three, and two of the second stage
    assert torch.equal(stop.value.found.image, image())


def test_descents_in_turn_are_one(generator):
    """Terms that only one of them has keep their values; what becomes of the last image happens once."""
    parts = [
        Preimage(torch.zeros(1, 3, 2, 2), {"a": [3.0, 2.0]}),
        Preimage(torch.ones(1, 3, 2, 2), {"a": [1.0], "b": [5.0]}),
    ]
    joined = in_turn(iter(parts), lambda image: image / 2)
    assert joined.energy == {"a": [3.0, 2.0, 1.0], "b": [5.0]}
    assert torch.equal(joined.image, torch.full((1, 3, 2, 2), 0.5))


def test_features_that_name_their_activations_are_taken_at_their_word(coursenet):
    class Two(Named):
        def forward(self, x):
            return {"": x.mean((2, 3)), "mine": 2 * x}

    found = minimize(Two(), squared_norm("mine") + 0.1 * squared_norm(""), Pixels(grey(4, 4)), steps=1)
    assert found.energy == {"squared_norm('mine')": [48.0], "squared_norm('')": [pytest.approx(0.075)]}
    filters = RandomFilters((3,), maps=4)
    assert minimize(filters, squared_norm("3"), Pixels(grey(8, 8)), steps=1).total[0] >= 0


def test_no_stage_is_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        minimize_in_stages(nn.Identity(), distance(grey(4, 4)), Pixels(grey(4, 4)), [])


def test_a_loop_looks_for_its_layers_once(monkeypatch):
    """One hook to find out what runs, one for all steps; one a step would cost what a layer costs."""
    hooked, register = [], nn.Module.register_forward_hook
    monkeypatch.setattr(
        nn.Module, "register_forward_hook", lambda self, hook, **k: hooked.append(self) or register(self, hook, **k)
    )
    net = models.load("coursenet")
    minimize(net, -1 * activation("conv3", 3), Pixels(grey(48, 48)), steps=6)
    assert hooked == [net.get_submodule("conv3")] * 2
