import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from course_lib import energy
from course_lib.energy import sliced


@pytest.fixture
def activations(generator):
    return {"conv": torch.randn(2, 5, 4, 6, generator=generator), "": torch.randn(2, 7, generator=generator)}


@pytest.fixture
def image(generator):
    return torch.rand(2, 3, 8, 8, generator=generator)


def test_energies_add_subtract_scale_and_sum(activations, image):
    a, b = energy.activation("conv", 1), energy.total_variation()
    va, vb = a(activations, image), b(activations, image)
    for combined, value in [
        (a + b, va + vb),
        (a - b, va - vb),
        (-a, -va),
        (3 * a, 3 * va),
        (a * 3, 3 * va),
        (b / 4, vb / 4),
        (sum([a, b, 2 * a]), 3 * va + vb),
        (0.5 * (a - 2 * b), 0.5 * va - vb),
    ]:
        assert torch.isclose(combined(activations, image), value)


def test_parts_are_weighted_named_and_lose_no_repeated_name(activations, image):
    whole = -1 * energy.activation("conv", 1) + energy.activation("conv", 1) + 2 * energy.total_variation()
    parts = whole.parts(activations, image)
    assert list(parts) == ["activation('conv', 1)", "activation('conv', 1) #2", "total_variation(beta=2)"]
    assert torch.isclose(sum(parts.values()), whole(activations, image))
    assert repr(whole) == "-1 * activation('conv', 1) + activation('conv', 1) + 2 * total_variation(beta=2)"


def test_an_energy_takes_no_other_number_than_the_zero_of_sum():
    with pytest.raises(TypeError):
        energy.total_variation() + 1
    with pytest.raises(TypeError):
        energy.total_variation() * energy.total_variation()


def test_activation_is_the_mean_over_places_or_one_place(activations, image):
    a = activations["conv"]
    assert torch.isclose(energy.activation("conv", 2)(activations, image), a[:, 2].mean((1, 2)).sum())
    assert torch.isclose(energy.activation("conv", 2, at=(3, 5))(activations, image), a[:, 2, 3, 5].sum())
    assert torch.isclose(energy.activation("", 6)(activations, image), activations[""][:, 6].sum())
    each = energy.activation("conv", torch.tensor([0, 4]))(activations, image)
    assert torch.isclose(each, a[0, 0].mean() + a[1, 4].mean())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            energy.activation("cnov", 0),
            r"no layer 'cnov' \(did you mean 'conv'\?\) for the term activation\('cnov', 0\)",
        ),
        (energy.activation("conv", 5), "no channel of layer 'conv' with number 5: they go from 0 to 4"),
        (energy.activation("conv", -1), "number -1"),
        (energy.activation("conv", 0, at=(4, 0)), r"no position \(4, 0\) in layer 'conv', which is 4 x 6"),
        (energy.activation("", 0, at=(0, 0)), "the output has no positions"),
        (energy.cross_entropy("", 7), "no class of the output with number 7: they go from 0 to 6"),
        (energy.cross_entropy("", torch.tensor([0, 1, 2])), "one int or 2 of them"),
        (energy.distance({"conv": torch.zeros(1, 5, 4, 4)}), "layer 'conv' outputs"),
        (energy.gram_distance({"conv": torch.zeros(1, 6, 4, 4)}), "has 5 channels, its target 6"),
    ],
)
def test_bad_terms_name_the_culprit(term, message, activations, image):
    with pytest.raises(ValueError, match=message):
        term(activations, image)


def test_labels_are_whole_numbers(activations, image):
    with pytest.raises(TypeError, match="whole number"):
        energy.cross_entropy("", 1.0)(activations, image)


def test_cross_entropy_equals_torch(activations, image):
    labels = torch.tensor([3, 0])
    expected = F.cross_entropy(activations[""], labels, reduction="sum")
    assert torch.isclose(energy.cross_entropy("", labels)(activations, image), expected)


def test_distance_is_zero_at_the_target_and_one_at_the_zero_code(activations, image):
    term = energy.distance(activations)
    assert term(activations, image) == 0
    zeros = {layer: torch.zeros_like(a) for layer, a in activations.items()}
    assert torch.isclose(term(zeros, image), torch.tensor(4.0))  # 2 layers x 2 pictures


def test_squared_norm_has_twice_the_activation_as_its_gradient(activations, image):
    a = activations["conv"].requires_grad_()
    (slope,) = torch.autograd.grad(energy.squared_norm("conv")({"conv": a}, image), a)
    assert torch.allclose(slope, 2 * a)  # "set the gradient of the layer to its activation"


def test_inner_product_has_the_target_as_its_gradient(activations, image):
    target = {"conv": torch.ones_like(activations["conv"])}
    a = activations["conv"].requires_grad_()
    (slope,) = torch.autograd.grad(energy.inner_product(target)({"conv": a}, image), a)
    assert torch.equal(slope, target["conv"])


def test_gram_matrix_by_hand():
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    assert energy.gram_matrix(a).tolist() == [[[5, 11], [11, 25]]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weighted", [False, True])
def test_gram_matrix_has_its_slopes(layout, weighted, generator):
    a = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.double).contiguous(memory_format=layout)
    where = torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.double) if weighted else None
    rows = a.flatten(2) * (1 if where is None else where.flatten(2))
    assert torch.allclose(energy.gram_matrix(a, where), torch.einsum("nip,njp->nij", rows, a.flatten(2)))
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: energy.gram_matrix(a, where), a)
    assert torch.autograd.gradgradcheck(lambda a: energy.gram_matrix(a, where), a)


def test_gram_distance_is_gatys_formula(generator, image):
    a, b = torch.rand(1, 5, 4, 6, generator=generator), torch.rand(1, 5, 4, 6, generator=generator)
    n, m = 5, 24
    expected = sum(
        (sum(a[0, i].flatten() * a[0, j].flatten()) - sum(b[0, i].flatten() * b[0, j].flatten())) ** 2
        for i in range(n)
        for j in range(n)
    ) / (4 * n**2 * m**2)
    assert torch.isclose(energy.gram_distance({"x": b})({"x": a}, image), expected)


@pytest.mark.parametrize("size", [(4, 6), (3, 5), (7, 4)])
def test_sliced_distance_is_scipys_in_each_direction(size, generator, image):
    """Of maps with as many positions as the target, with fewer, and with more."""
    a0, a = torch.rand(1, 5, 4, 6, generator=generator), torch.randn(1, 5, *size, generator=generator)
    drawn = sliced._directions(9, 5, torch.Generator().manual_seed(3)).float()
    each = [wasserstein_distance(*((d @ x[0].flatten(1)).numpy() for x in (a, a0))) for d in drawn]
    term = energy.sliced_distance({"x": a0}, directions=9, power=1, seed=3)
    assert float(term({"x": a}, image)) == pytest.approx(sum(each) / 9, rel=1e-5)


def test_squared_sliced_distance_is_the_cheapest_assignment(generator, image):
    """SciPy's optimum over all ways to pair the positions; one channel, so that the one direction is 1 or -1."""
    a0, a = torch.rand(2, 1, 1, 3, 4, generator=generator)
    costs = (a.flatten()[:, None] - a0.flatten()).square().numpy()
    best = costs[linear_sum_assignment(costs)].mean()
    assert float(energy.sliced_distance({"x": a0})({"x": a}, image)) == pytest.approx(best, rel=1e-5)


def test_sliced_distance_sums_over_layers_and_images(generator, image):
    a0, a = ({k: torch.rand(n, c, 4, 4, generator=generator) for k, c in (("x", 3), ("y", 5))} for n in (1, 2))
    whole = energy.sliced_distance(a0, seed=1)
    assert whole.layers == ("x", "y") and repr(whole) == "sliced_distance('x', 'y')"
    alone = [whole({k: v[i : i + 1] for k, v in a.items()}, image) for i in range(2)]
    assert torch.isclose(whole(a, image), sum(alone))
    only_x = energy.sliced_distance({"x": a0["x"]}, seed=1)  # the first layer's directions are drawn first
    assert only_x(a, image) < whole(a, image)


def test_sliced_distance_forgets_where_and_sees_more_than_the_gram_matrix(generator, image):
    a0 = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 2, 2)
    a = torch.tensor([0.0, 0.0, 2**0.5, -(2**0.5)]).view(1, 1, 2, 2)  # the same mean of squares, another distribution
    assert energy.gram_distance({"x": a0})({"x": a}, image) < 1e-12
    assert energy.sliced_distance({"x": a0})({"x": a}, image) > 0.5
    moved = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    b0 = torch.rand(1, 5, 24, 1, generator=generator)
    assert energy.sliced_distance({"x": b0})({"x": b0[:, :, moved].view(1, 5, 4, 6)}, image) < 1e-12
    twice = torch.cat([b0, b0], 3)  # every vector twice: the same distribution
    assert energy.sliced_distance({"x": b0})({"x": twice}, image) < 1e-12


def test_directions_follow_the_seed(activations, image):
    target = {"conv": activations["conv"].flip(1)}
    terms = [energy.sliced_distance(target, directions=2, seed=seed) for seed in (4, 4, 5)]
    state = torch.random.get_rng_state()
    first, again, other = (float(term(activations, image)) for term in terms)
    assert first == again == float(terms[0](activations, image)) != other
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda a: energy.sliced_distance({"": a[""]}), ValueError, r"the output outputs .* of maps \(n, c, h, w\)"),
        (lambda a: energy.sliced_distance(a, directions=0), ValueError, "directions must be at least 1"),
        (lambda a: energy.sliced_distance(a, power=0.5), ValueError, "power must be at least 1"),
        (lambda a: energy.sliced_distance(a, seed=1.5), TypeError, "seed is a whole number"),
        (
            lambda a: energy.sliced_distance({"conv": torch.zeros(1, 6, 4, 4)})(a, a["conv"]),
            ValueError,
            "layer 'conv' has 5 channels, its target 6",
        ),
        (
            lambda a: energy.sliced_distance({"conv": torch.zeros(3, 5, 4, 4)})(a, a["conv"]),
            ValueError,
            "layer 'conv' is of 2 images, its target of 3",
        ),
        (
            lambda a: energy.sliced_distance({"conv": a["conv"]})({"conv": a["conv"].mean((2, 3))}, a["conv"]),
            ValueError,
            r"layer 'conv' outputs \(2, 5\)",
        ),
        (lambda a: energy.sliced_distance({"cnov": a["conv"]})(a, a["conv"]), ValueError, "no layer 'cnov'"),
    ],
)
def test_a_bad_sliced_distance_names_the_culprit(make, error, message, activations):
    with pytest.raises(error, match=message):
        make(activations)


def test_total_variation_of_a_picture_worked_by_hand():
    picture = torch.tensor([[0.0, 1, 1], [2, 2, 1], [0, 0, 0]]).view(1, 1, 3, 3)
    # (right, down) differences: 1 2 | 0 1 | 0 0 ; 0 -2 | -1 -2 | 0 -1 ; 0 0 0
    assert energy.total_variation(2)({}, picture) == 1 + 4 + 1 + 4 + 1 + 4 + 1
    expected = 5**0.5 + 1 + 2 + 5**0.5 + 1
    assert torch.isclose(energy.total_variation(1)({}, picture), torch.tensor(expected))


@pytest.mark.parametrize("beta", [1, 1.5, 2])
def test_total_variation_has_a_finite_gradient_on_flat_ground(beta):
    picture = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    energy.total_variation(beta)({}, picture).backward()
    assert torch.equal(picture.grad, torch.zeros_like(picture))


def test_alpha_norm_measures_from_grey():
    picture = torch.full((1, 3, 2, 2), 0.75)
    assert torch.isclose(energy.alpha_norm(6)({}, picture), torch.tensor(12 * 0.25**6))


@pytest.mark.parametrize(
    "term",
    [
        energy.total_variation(1.5),
        energy.total_variation(2),
        energy.alpha_norm(6),
    ],
    ids=repr,
)
def test_gradients_of_image_terms(term, generator):
    picture = torch.rand(2, 3, 4, 5, dtype=torch.double, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: term({}, x), picture)


def test_gradients_of_activation_terms(generator):
    target = {"a": torch.rand(1, 3, 4, 5, dtype=torch.double, generator=generator)}
    terms = [
        energy.activation("a", 1),
        energy.activation("a", 1, at=(2, 2)),
        energy.squared_norm("a"),
        energy.distance(target),
        energy.inner_product(target),
        energy.gram_distance(target),
        energy.sliced_distance(target),
        energy.sliced_distance({"a": target["a"][..., :3]}, directions=2),  # of another size
    ]
    a = torch.rand(2, 3, 4, 5, dtype=torch.double, generator=generator, requires_grad=True)
    for term in terms:
        assert torch.autograd.gradcheck(lambda x, term=term: term({"a": x}, x), a)


def test_a_batch_descends_as_each_picture_alone(generator):
    """Each term sums over pictures, so a picture's gradient does not depend on its neighbours."""
    a = torch.rand(3, 4, 5, 5, generator=generator, requires_grad=True)
    target = {"a": torch.rand(1, 4, 5, 5, generator=generator)}
    whole = energy.distance(target) + energy.activation("a", 2) + energy.gram_distance(target)
    whole += energy.sliced_distance(target)
    together = torch.autograd.grad(whole({"a": a}, a), a)[0][1:2]
    alone = a.detach()[1:2].requires_grad_()
    assert torch.allclose(torch.autograd.grad(whole({"a": alone}, alone), alone)[0], together, atol=1e-7)
