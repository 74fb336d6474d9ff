"""The live page: its networks against PyTorch, and the page itself, driven in a browser."""

import base64
import io
import json
import re
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib import adversarial, attribution, data, models, world
from course_lib.taps import Taps, receptive_field
from project.repository import ROOT
from tools import live, toolbox, units

pytestmark = pytest.mark.slow  # a browser runs the networks
LAYERS = [f"{kind}{i}" for i in range(1, 6) for kind in ("conv", "relu", "pool") if kind != "pool" or i in (1, 2, 5)]
LAYERS += ["fc6", "relu6", "fc7", "relu7", "fc8"]
BLOCKS = ["stem_relu", *(f"block{i}" for i in range(1, 17)), "head_relu", "pool", "fc"]
AXE = ROOT / "vendor" / "test" / "axe.min.js"
PLAIN, SIMD = "plain loops", "WebAssembly"

# ---------------------------------------------------------------- the arithmetic, against PyTorch

CODEC = """
const floats = text => new Float32Array(live.bytes(text).buffer);
const text = values => {
    const bytes = new Uint8Array(Float32Array.from(values).buffer);
    let binary = "";
    for (let i = 0; i < bytes.length; i += 4096) binary += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(binary);
};
const picture = (text, side) => ({ values: floats(text), channels: 3, height: side, width: side });
const networks = {}, engines = { [live.loops.name]: live.loops, [live.engine.name]: live.engine };
const open = async name => {
    const facts = live.facts.networks[name], weights = live.weightsOf(facts, await live.weights(name, () => {}));
    networks[name] = new live.Network(facts.layers, weights, facts.mean, facts.deviation);
};
"""


def channels_last(x):
    """(1, c, h, w) as the page's scripts hold it; a list as it is."""
    return x[0].permute(1, 2, 0).flatten() if x.dim() == 4 else x.flatten()


class InBrowser:
    """What the page's scripts compute, as tensors."""

    def __init__(self, page, network, engine=SIMD):
        self.page, self.network, self.engine = page, network, engine

    def __call__(self, expression, x, **arguments):
        """The value of a JavaScript expression of the picture `x`, `network` and the arguments."""
        values = base64.b64encode(channels_last(x).numpy().astype("<f4").tobytes()).decode()
        names = ", ".join(arguments)
        return self.page.evaluate(
            f"([pixels, side, name, engine, {{ {names} }}]) => {{ live.engine = engines[engine]; "
            f"const network = networks[name], x = picture(pixels, side); return {expression}; }}",
            [values, x.shape[-1], self.network, self.engine, arguments],
        )

    def array(self, expression, x, **arguments):
        return self.decoded(self(f"text({expression})", x, **arguments))

    def image(self, expression, x, **arguments):
        """An array as large as x, as (1, 3, h, w)."""
        return self.array(expression, x, **arguments).view(*x.shape[2:], 3).permute(2, 0, 1)[None]

    @staticmethod
    def decoded(text):
        return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    live.write(folder)
    return folder


@pytest.fixture(scope="module")
def empty_page(browser, written):
    """The scripts on an empty page that was opened as a file, with the networks open."""
    scripts = [f'<script src="static/live/{name}"></script>' for name in ("engine.js", "load.js", "pictures.js")]
    (written / "empty.html").write_text(f"<!doctype html>{''.join(scripts)}<script>{CODEC}</script>")
    page = browser.new_page()
    page.goto((written / "empty.html").as_uri())
    page.evaluate("async () => { await live.script('facts.js'); await open('coursenet'); await open('lite0'); }")
    yield page
    page.close()


@pytest.fixture(scope="module", params=[SIMD, PLAIN])
def in_browser(empty_page, request):
    return InBrowser(empty_page, "coursenet", request.param)


@pytest.fixture(scope="module", params=[SIMD, PLAIN])
def lite0_in_browser(empty_page, request):
    return InBrowser(empty_page, "lite0", request.param)


@pytest.fixture(scope="module")
def images(scenes):
    """Two drawn scenes, noise, and the faint noise that leaves most units near their threshold."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, 96, 96, generator=generator)
    return torch.cat([scenes.images[:2], noise, 0.5 + 0.01 * (noise - 0.5)])


@pytest.fixture(scope="module")
def exact(coursenet):
    """CourseNet in double precision: where it is sure, 1 - p is lost in PyTorch's single."""
    return deepcopy(coursenet).double()


@pytest.fixture(scope="module")
def lite0():
    return models.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photographs():
    return torch.cat([data.photograph(name) for name in data.photographs()])


@pytest.fixture(scope="module")
def rounded(lite0):
    """EfficientNet-Lite0 with the page's weights: each filter in 65535 steps, which PyTorch does by itself."""
    net = deepcopy(lite0)
    with torch.no_grad():
        for weight in (p for p in net.parameters() if p.dim() > 1):
            steps = weight.flatten(1).abs().amax(1).clamp(min=1e-30) / 32767
            zero = torch.zeros_like(steps).int()
            weight.copy_(torch.fake_quantize_per_channel_affine(weight, steps, zero, 0, -32767, 32767))
    return net


def deviation(found, true):
    """The largest error, relative to the largest of the true values."""
    assert found.shape == true.shape
    return float((found - true).abs().max() / true.abs().max())


def test_the_weights_arrive_bit_for_bit(empty_page, coursenet, scenes):
    everything = "[...network.layers].filter(l => l.weights).flatMap(l => [...l.weights, ...l.bias])"
    found = InBrowser(empty_page, "coursenet").array(everything, scenes.images[:1])
    assert torch.equal(found.sort().values, torch.cat([p.flatten() for p in coursenet.parameters()]).sort().values)


def test_every_layer_is_pytorchs(in_browser, coursenet, images):
    for x in images.split(1):
        maps = in_browser("Object.entries(network.forward(x)).map(([k, m]) => [k, text(m.values)])", x)
        maps = {name: in_browser.decoded(text) for name, text in maps}
        assert list(maps) == ["input", *LAYERS]
        with torch.no_grad():
            true = Taps(coursenet, *LAYERS)(x)
        for name in LAYERS:
            assert deviation(maps[name], channels_last(true[name])) < 1e-4, name


def test_every_layer_of_lite0_is_pytorchs(lite0_in_browser, rounded, photographs):
    x = photographs[:1]
    maps = lite0_in_browser(
        "Object.entries(network.forward(x)).filter(([k]) => wanted.includes(k)).map(([k, m]) => [k, text(m.values)])",
        x,
        wanted=BLOCKS,
    )
    with torch.no_grad():
        true = Taps(rounded, *BLOCKS)(x)
    assert [name for name, _ in maps] == BLOCKS
    for name, text in maps:
        assert deviation(lite0_in_browser.decoded(text), channels_last(true[name])) < 1e-4, name


def test_lite0s_logits_are_the_packages_to_a_hundredth(empty_page, lite0, photographs):
    for x in photographs.split(1):
        found = InBrowser(empty_page, "lite0").array("network.logits(x)", x)
        with torch.no_grad():
            true = lite0(x)[0]
        assert (found - true).abs().max() < 0.01
        assert found.topk(5).indices.tolist() == true.topk(5).indices.tolist()


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
def test_lite0s_gradient_is_pytorchs(lite0_in_browser, rounded, photographs, rule):
    x, label = photographs[1:2], 967
    found = lite0_in_browser.image("live.logitSlope(network, x, label, rule)", x, label=label, rule=rule)
    # In single precision some units lie on the other side of their threshold: a few pixels, not all.
    true = attribution.gradient(rounded, x, label, rule=rule)
    assert F.cosine_similarity(found.flatten(), true.flatten(), 0) > 0.9999
    assert (found - true).abs().quantile(0.99) < 1e-3 * true.abs().max()


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_the_rules_of_the_relu_are_the_packages(in_browser, exact, scenes, rule):
    x, label = scenes.images[:1], int(scenes.labels[0])
    found = in_browser.image("live.logitSlope(network, x, label, rule)", x, label=label, rule=rule)
    assert deviation(found, attribution.gradient(exact, x.double(), label, rule=rule)) < 1e-4


def gradient(net, x, label):
    x = x.double().requires_grad_()
    (found,) = torch.autograd.grad(F.cross_entropy(net(x), torch.tensor([label])), x)
    return found


def test_the_gradient_is_pytorchs(in_browser, exact, images):
    for x in images.split(1):
        for label in (0, 7):
            found = in_browser.image("live.crossEntropySlope(network, network.forward(x), label)", x, label=label)
            assert deviation(found, gradient(exact, x, label)) < 1e-4


def test_the_gradient_is_right_where_the_network_is_sure(in_browser, exact, scenes):
    x, label = scenes.images[:1], int(scenes.labels[0])
    assert exact(x.double()).softmax(1)[0, label] > 0.999
    found = in_browser.image("live.crossEntropySlope(network, network.forward(x), label)", x, label=label)
    assert deviation(found, gradient(exact, x, label)) < 1e-4


def test_a_push_is_a_fast_gradient_sign_step(in_browser, exact, scenes):
    x, label, epsilon = scenes.images[1:2], int(scenes.labels[1]), 6 / 255
    expression = "live.signStep(x, live.crossEntropySlope(network, network.forward(x), label), epsilon).values"
    found = in_browser.image(expression, x, label=label, epsilon=epsilon)
    true = adversarial.fgsm(exact, x.double(), label, epsilon, anyway=True)
    clear = gradient(exact, x, label).abs() > 1e-4 * gradient(exact, x, label).abs().max()
    assert clear.float().mean() > 0.9
    assert (found - true)[clear].abs().max() < 1e-6
    assert (found - x).abs().max() < epsilon + 1e-6 and 0 <= found.min() and found.max() <= 1


def test_random_signs_are_fair_and_always_the_same(in_browser, scenes):
    signs = in_browser.array("live.randomSigns(27648)", scenes.images[:1])
    assert set(signs.tolist()) == {-1, 1}
    assert abs(float(signs.mean())) < 4 / 27648**0.5
    assert abs(float((signs[1:] * signs[:-1]).mean())) < 4 / 27648**0.5
    assert torch.equal(in_browser.array("live.randomSigns(27648)", scenes.images[:1]), signs)


def test_the_occlusion_map_is_that_of_chapter_5(empty_page, coursenet, scenes):
    in_browser = InBrowser(empty_page, "coursenet")
    x, label = scenes.images[2:3], int(scenes.labels[2])
    steps = "const steps = [...live.occlusion(network, x, label)]"
    run = f"(() => {{ {steps}; return [text(live.spread(steps, x)), steps.map(s => [s.fall, s.winner])]; }})()"
    heat, positions = in_browser(run, x, label=label)
    assert deviation(in_browser.decoded(heat), attribution.occlusion(coursenet, x, label, 16, 8).flatten()) < 1e-4
    covered = x.repeat(121, 1, 1, 1)
    for i in range(121):
        top, left = 8 * (i // 11), 8 * (i % 11)
        covered[i, :, top : top + 16, left : left + 16] = 0.5
    with torch.no_grad():
        logits = coursenet(covered)
        falls = coursenet(x)[0, label] - logits[:, label]
    assert deviation(torch.tensor([fall for fall, _ in positions]), falls) < 1e-4
    assert [winner for _, winner in positions] == logits.argmax(1).tolist()


@pytest.mark.parametrize("box", [(0, 0, 32, 32), (96, 80, 128, 112), (176, 192, 208, 224), (0, 0, 224, 224)])
def test_where_a_box_has_changed_the_logits_are_those_of_the_whole(lite0_in_browser, rounded, photographs, box):
    x, (top, left, bottom, right) = photographs[:1], box
    followed, whole = lite0_in_browser(
        """(() => {
            const covered = live.covered(x, box, 0.5), change = new live.Change(network, network.forward(x));
            return [text(change.logits(covered, box)), text(network.logits(covered))];
        })()""",
        x,
        box={"top": top, "left": left, "bottom": bottom, "right": right},
    )
    assert followed == whole  # bit for bit
    covered = x.clone()
    covered[:, :, top:bottom, left:right] = 0.5
    with torch.no_grad():
        assert deviation(lite0_in_browser.decoded(followed), rounded(covered)[0]) < 1e-4


# ---------------------------------------------------------------- why a unit has its value, against PyTorch


WHY = [
    ("coursenet", "relu1", "conv1", "input"),
    ("coursenet", "relu3", "conv3", "pool2"),
    ("coursenet", "pool2", "conv2", "pool1"),
    ("coursenet", "relu6", "fc6", "pool5"),
    ("coursenet", "fc8", "fc8", "relu7"),
    ("lite0", "block5", "block5.project", "block5.depthwise_relu"),
    ("lite0", "stem_relu", "stem", "input"),
    ("lite0", "fc", "fc", "pool"),
]


@pytest.mark.parametrize(("network", "layer", "summing", "inputs"), WHY)
def test_the_terms_of_a_unit_are_pytorchs(empty_page, request, network, layer, summing, inputs):
    """Each term is what the layer gives when its other inputs are zero; together they are the unit's value."""
    net = request.getfixturevalue("coursenet" if network == "coursenet" else "rounded")
    x = live.scenes(net)[0][3:4] if network == "coursenet" else data.photograph("coffee")
    with torch.no_grad():
        maps = Taps(net, layer)(x)[layer][0]
        maps = maps if maps.dim() == 3 else maps[:, None, None]
        channel = int(maps.flatten(1).amax(1).argmax())
        row, column = divmod(int(maps[channel].argmax()), maps.shape[2])
    found = InBrowser(empty_page, network)(
        "(({ terms, ...rest }) => ({ ...rest, terms: terms.map(({ channel, sum }) => [channel, sum]) }))"
        "(live.explain(network, network.forward(x), layer, channel, row, column))",
        x,
        layer=layer,
        channel=channel,
        row=row,
        column=column,
    )
    assert (found["layer"], found["from"]) == (summing, inputs)
    assert found["value"] == pytest.approx(float(maps[channel, row, column]), rel=1e-4)
    sums = [abs(total) for _, total in found["terms"]]
    assert sums == sorted(sums, reverse=True)
    assert found["bias"] + sum(total for _, total in found["terms"]) == pytest.approx(found["sum"], rel=1e-6)
    skipped = found["skip"]["value"] if found["skip"] else 0
    assert found["sum"] + skipped == pytest.approx(found["value"], rel=1e-4) or found["value"] == 6  # the ReLU's top
    part = net.get_submodule(summing)
    with torch.no_grad():
        seen = (x - net.mean) / net.std if inputs == "input" else Taps(net, inputs)(x)[inputs]
        for number, total in (found["terms"][0], found["terms"][-1]):
            alone = torch.zeros_like(seen)
            alone[:, number] = seen[:, number]
            out = part(
                F.pad(alone, (0, 1, 0, 1)) if summing == "stem" else alone.flatten(1) if part_is_linear(part) else alone
            )
            out = out[0, channel] - part.bias[channel]
            if layer.startswith("pool"):  # the summing unit is one of the nine below
                nine = out[max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
                assert (nine - total).abs().min() < 1e-3
            else:
                assert float(out[row, column] if out.dim() else out) == pytest.approx(total, rel=1e-3, abs=1e-4)


def part_is_linear(part):
    return isinstance(part, torch.nn.Linear)


# ---------------------------------------------------------------- photographs, as the book reads them


FROM_FILE = """async ([bytes, name, side]) => {
    const canvas = await live.read(new File([live.bytes(bytes)], name));
    const small = Math.min(canvas.width, canvas.height);
    const box = { left: (canvas.width - small) / 2, top: (canvas.height - small) / 2, side: small };
    return text((await live.squareOf(canvas, box, side)).values);
}"""


def as_the_page_reads(page, content, name, side=224):
    values = page.evaluate(FROM_FILE, [base64.b64encode(content).decode(), name, side])
    return InBrowser.decoded(values).view(side, side, 3).permute(2, 0, 1)[None]


def encoded(name, format, **options):
    """A photograph of the course, whole, as the bytes of a file."""
    buffer = io.BytesIO()
    pixels = (data.photograph(name, None)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6


def large(name, width, height):
    """A photograph of the course as a telephone's camera would give it: more pixels, and noise in all of them."""
    whole = data.photograph(name, None)
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 0.05
    grown = F.interpolate(whole, (height, width), mode="bilinear") + noise
    return (grown[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def as_jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=90)
    return file.getvalue()


COURSES = ("astronaut", "rocket", "chelsea")  # square, wide, and wide by an odd number
UPLOADS = {
    **{f"{name}.png": partial(encoded, name, "png") for name in COURSES},
    **{f"{name}.jpg": partial(encoded, name, "jpeg", quality=90) for name in COURSES},
    **{f"{name}-turned.jpg": partial(encoded, name, "jpeg", quality=90, exif=TURNED) for name in COURSES},
    **{f"{name}-full-colour.jpg": partial(encoded, name, "jpeg", quality=90, subsampling=0) for name in COURSES},
    "chelsea-12-million.jpg": lambda: as_jpeg(large("chelsea", 4032, 3024)),
    "coffee-tall.jpg": lambda: as_jpeg(large("coffee", 1200, 2600)),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_an_uploaded_photograph_is_read_as_the_book_reads_it(empty_page, lite0, name):
    """To a rounding here and there; so the logits are PyTorch's to a hundredth, of a JPEG, too."""
    content = UPLOADS[name]()
    true = data.read(io.BytesIO(content))
    found = as_the_page_reads(empty_page, content, name)
    assert (found - true).abs().max() < 1.1 / 255
    assert (found - true).abs().mean() < 0.001 / 255
    seen = InBrowser(empty_page, "lite0").array("network.logits(x)", found)
    with torch.no_grad():
        logits = lite0(true)[0]
    assert (seen - logits).abs().max() < 0.01
    assert seen.topk(5).indices.tolist() == logits.topk(5).indices.tolist()


@pytest.mark.parametrize(("width", "height"), [(300, 400), (400, 300), (60, 200), (224, 300), (300, 224), (3000, 230)])
def test_any_shape_is_resized_as_pillow_does_it(empty_page, width, height):
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(1)).byte().numpy()
    content = as_png(pixels).getvalue()
    found, true = as_the_page_reads(empty_page, content, "noise.png"), data.read(io.BytesIO(content))
    assert (found - true).abs().max() < 1.1 / 255
    assert (found - true).abs().mean() < 0.001 / 255


def test_what_is_transparent_is_white(empty_page):
    pixels = torch.randint(0, 256, (300, 260, 4), generator=torch.Generator().manual_seed(2)).byte().numpy()
    pixels[..., 3] = 255 * (np.arange(260) % 100 < 50)
    content = as_png(pixels).getvalue()
    found, true = as_the_page_reads(empty_page, content, "cut-out.png"), data.read(io.BytesIO(content))
    assert (found - true).abs().max() < 1.1 / 255


def test_the_stored_photographs_are_the_books_to_the_bit(written):
    text = (written / "static" / "live" / "photographs.js").read_text()
    stored = json.loads(text.removeprefix("live.photographs = ").removesuffix(";\n"))
    assert [one["name"].lower() for one in stored[:6]] == list(data.photographs())
    for one in stored[:6]:
        with Image.open(io.BytesIO(base64.b64decode(one["address"].split(",")[1]))) as image:
            true = (data.photograph(one["name"].lower())[0] * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(np.asarray(image.convert("RGB")), true)


def test_softmax_bears_large_logits(in_browser, scenes):
    found = in_browser("live.softmax([1000, 999, -1000])", scenes.images[:1])
    assert np.allclose(found, torch.tensor([1000.0, 999, -1000]).softmax(0))


# ---------------------------------------------------------------- one energy, against PyTorch's own optimiser


def pytorchs(net, x, steps, layer, loss, variation=0.0):
    """The image and the energies after steps of torch.optim.Adam, from x, kept in [0, 1]."""
    image = x.clone().requires_grad_()
    adam = torch.optim.Adam([image], lr=0.02)
    energies = []
    for step in range(steps + 1):
        adam.zero_grad()
        down, right = image.diff(dim=2).square().sum(), image.diff(dim=3).square().sum()
        energy = loss(Taps(net, layer)(image)[layer]) + variation * (down + right) / image.numel()
        energies.append(energy.item())
        if step < steps:
            energy.backward()
            adam.step()
            with torch.no_grad():
                image.clamp_(0, 1)
    return image.detach(), energies


def minimised(in_browser, x, **settings):
    """The energies of the page's loop and its last image."""
    run = """(() => {
        const states = [...live.minimise(network, { picture: x, start: "picture", transform: "none", ...settings })];
        return [states.map(s => s.loss + s.penalty), text(states.at(-1).picture.values)];
    })()"""
    energies, last = in_browser(run, x, settings=settings)
    return in_browser.decoded(last).view(*x.shape[2:], 3).permute(2, 0, 1)[None], energies


@pytest.mark.parametrize("technique", ["ascent", "dream", "inversion"])
def test_ten_steps_are_those_of_pytorchs_adam(in_browser, coursenet, scenes, technique):
    x = scenes.images[:1]
    menus, loss, variation = {
        "ascent": ({"layer": "fc8", "loss": "raise", "channel": 3}, lambda z: -z[0, 3], 100),
        "dream": ({"layer": "relu3", "loss": "raise", "channel": None}, lambda f: -f.square().mean() / 2, 0),
        "inversion": ({"layer": "relu2", "loss": "code", "channel": None, "start": "grey"}, None, 10),
    }[technique]
    first = x
    if loss is None:
        with torch.no_grad():
            code = Taps(coursenet, "relu2")(x)["relu2"]
        first = torch.full_like(x, 0.5)

        def loss(f):
            return (f - code).square().sum() / code.square().sum()

    found, energies = minimised(
        in_browser, x, **menus, steps=10, regulariser="variation" if variation else "none", weight=variation
    )
    image, true = pytorchs(coursenet, first, 10, menus["layer"], loss, variation)
    assert np.allclose(energies, true, rtol=2e-3, atol=1e-4)
    assert energies[-1] < energies[0]
    # Adam divides by the gradient, also where it is nearly nothing: a twentieth of the way may differ.
    assert (found - image).abs().mean() < 0.05 * (image - first).abs().mean()


def test_ten_signed_steps_are_the_packages_pgd(in_browser, exact, scenes):
    x, label, epsilon = scenes.images[1:2], int(scenes.labels[1]), 4 / 255
    found, _ = minimised(
        in_browser, x, layer="fc8", loss="away", label=label, regulariser="ball", epsilon=epsilon, steps=10
    )
    true = adversarial.pgd(exact, x.double(), label, epsilon, steps=10, anyway=True)
    assert (found - x).abs().max() < epsilon + 1e-6 and 0 <= found.min() and found.max() <= 1
    with torch.no_grad():
        both = F.cross_entropy(exact(torch.cat([found, true])), torch.tensor([label, label]), reduction="none")
        clean = F.cross_entropy(exact(x.double()), torch.tensor([label]))
    assert both[0] > clean + 1
    assert both[0] == pytest.approx(float(both[1]), rel=1e-3)


def test_jitter_moves_the_gradient_back(in_browser, coursenet, scenes):
    """The gradient is that of the moved image's energy, in the pixels of the image before it was moved."""
    x, state, draws = scenes.images[:1], 3, []
    for _ in range(2):  # the page's generator of random numbers, from the seed 3
        state = (1664525 * state + 1013904223) % 2**32
        draws.append(round((2 * state / 2**32 - 1) * 6))
    assert 0 not in draws
    found = in_browser.image(
        "live.minimise(network, { picture: x, start: 'picture', steps: 0, regulariser: 'none', layer: 'relu2', "
        "loss: 'raise', channel: 1, transform: 'jitter', seed: 3 }).next().value.gradient",
        x,
    )
    image = x.clone().requires_grad_()
    moved = torch.roll(image, draws, (2, 3))
    (true,) = torch.autograd.grad(-Taps(coursenet, "relu2")(moved)["relu2"][0, 1].mean(), image)
    assert deviation(found, true) < 1e-4


# ---------------------------------------------------------------- what the page is written from


def test_weights_that_do_not_fit_are_refused(in_browser, scenes):
    made = "new live.Network(network.layers, new Float32Array(7), 0, 1)"
    message = in_browser(
        f"(() => {{ try {{ {made}; }} catch (error) {{ return error.message; }} }})()", scenes.images[:1]
    )
    assert re.fullmatch(r"the layers take \d+ weights, got 7", message)


def test_the_fields_and_layers_are_the_networks(empty_page, coursenet, lite0):
    for name, net in (("coursenet", coursenet), ("lite0", lite0)):
        shown = [layer for layer in empty_page.evaluate(f"live.facts.networks.{name}.layers") if layer["shown"]]
        assert [layer["name"] for layer in shown] == (
            LAYERS if name == "coursenet" else ["stem", *BLOCKS[:17], "head", *BLOCKS[17:]]
        )
        for layer in shown[:: 1 if name == "coursenet" else 6]:
            field = receptive_field(net, layer["name"])
            assert layer["field"] == {"size": field.size, "step": field.stride, "start": field.start}


def test_a_checksum_is_the_one_of_zip_files(empty_page):
    assert empty_page.evaluate("live.checksum(new TextEncoder().encode('123456789'))") == 0xCBF43926  # the standard's


OF_A_NETWORK = re.compile(r".*/live/((coursenet|lite0)-\d+|scenes|photographs|units-.+|patches-.+|wanted-.+)\.\w+")


@pytest.mark.parametrize("width", [390, 1400])
def test_before_a_network_is_asked_for_the_page_is_light(browser, server, width):
    """What the page adds to the theme, which all pages of the book share: its own text, scripts and pictures."""
    page = browser.new_page(viewport={"width": width, "height": 850})
    sizes = {}
    page.on("response", lambda r: sizes.update({r.url: len(r.body())}))
    page.route(OF_A_NETWORK, lambda route: route.abort())
    page.goto(f"{server}/live.html", wait_until="networkidle")
    page.get_by_role("button", name="Try again").wait_for()  # all scripts ran, and no network came
    own = {url: size for url, size in sizes.items() if re.search(r"/live\.html|/_static/live/", url)}
    page.close()
    assert {"live.html", "engine.js", "page.js", "facts.js", "live.css"} <= {url.rsplit("/")[-1] for url in own}
    assert sum(own.values()) < 400_000


def test_the_site_is_at_most_90_megabytes(html):
    assert sum(file.stat().st_size for file in html.rglob("*") if file.is_file()) < 90e6


def test_without_its_package_the_page_has_coursenet_alone(tmp_path, monkeypatch):
    def missing(name):
        raise models.MissingWeights("no weights")

    load = models.load
    monkeypatch.setattr(models, "load", lambda name: missing(name) if name == "efficientnet_lite0" else load(name))
    live.write(tmp_path)
    facts = (tmp_path / "static" / "live" / "facts.js").read_text()
    assert '"coursenet"' in facts and '"lite0"' not in facts
    assert not list(tmp_path.rglob("lite0-*")) and not list(tmp_path.rglob("photographs.js"))


def test_the_top_patches_are_where_the_channels_are_largest(written, coursenet):
    text = (written / "static" / "live" / "units-coursenet.js").read_text()
    values = torch.tensor(json.loads(text[text.index("coursenet: ") + 11 : -4])["layers"]["relu2"]["values"])
    images = toolbox.images("coursenet")
    with torch.no_grad():
        maps = torch.cat([Taps(coursenet, "relu2")(x)["relu2"] for x in images.split(32)])
    assert (values - maps.amax((2, 3)).mT.topk(9).values).abs().max() < 0.00501
    channel = int(values[:, 0].argmax())
    image, position = divmod(int(maps[:, channel].flatten().argmax()), maps[0, 0].numel())
    row, column = divmod(position, maps.shape[3])
    padded = F.pad(images[image], (13, 40, 13, 40), value=0.8)  # a field of 27 begins 13 pixels before its middle
    patch = padded[:, 4 * row : 4 * row + 27, 4 * column : 4 * column + 27]
    with Image.open(written / "static" / "live" / "patches-coursenet-relu2.webp") as sheet:
        stored = np.asarray(sheet.convert("RGB"))[27 * channel : 27 * (channel + 1), :27] / 255
    assert np.abs(stored - patch.permute(1, 2, 0).numpy()).mean() < 0.06  # WebP


def images_of_units(net, network, layer):
    """The image of each channel of a layer, (channels, 3, size, size), from its sheet."""
    size = receptive_field(net, layer).size
    with torch.no_grad():
        count = Taps(net, layer)(torch.zeros(1, 3, net.image_size, net.image_size))[layer].shape[1]
    with Image.open(units.sheet(network, layer)) as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert("RGB"))).permute(2, 0, 1) / 255
    assert pixels.shape[1:] == (-(-count // units.COLUMNS) * size, units.COLUMNS * size)
    return pixels.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4).flatten(0, 1)[:count]


@pytest.mark.parametrize(("network", "layer"), [(n, name) for n in units.LAYERS for name in units.LAYERS[n]])
def test_every_unit_of_the_chosen_layers_has_its_image(coursenet, lite0, written, network, layer):
    net, short = (coursenet, "coursenet") if network == "coursenet" else (lite0, "lite0")
    found = images_of_units(net, network, layer)
    assert (found.flatten(1).std(1) > 0.02).all()
    assert len({image.numpy().tobytes() for image in found}) == len(found)
    text = (written / "static" / "live" / f"units-{short}.js").read_text()
    values = json.loads(text[text.index(f"{short}: ") + len(short) + 2 : -4])["layers"][layer]["values"]
    assert len(values) == len(found)


@pytest.mark.parametrize("layer", units.LAYERS["coursenet"])
def test_a_unit_prefers_the_image_that_was_made_for_it(coursenet, layer):
    field = receptive_field(coursenet, layer)
    tiles = images_of_units(coursenet, "coursenet", layer)
    size, count = field.size, len(tiles)
    at = -(-field.size // field.stride)
    top = field.start + at * field.stride
    side = top + size + 2 * field.stride
    canvas = torch.full((count, 3, side, side), 0.5)
    canvas[:, :, top : top + size, top : top + size] = tiles
    with torch.no_grad():
        found = Taps(coursenet, layer)(canvas)[layer][:, :, at, at]  # (tiles, channels)
    own = found.diagonal()
    others = (found < own).float().mean(0)  # of the tiles, for each channel, those that it likes less
    assert others.median() > 0.95


# ---------------------------------------------------------------- the page, driven


class Driven:
    """The live page, open, with what it asked for and what went wrong."""

    def __init__(self, page, address):
        self.page, self.outside, self.complaints = page, [], []
        page.on(
            "request", lambda r: None if r.url.startswith(("data:", "blob:", address)) else self.outside.append(r.url)
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda m: self.complaints.append(f"{m.text} {m.location}") if m.type == "error" else None)
        page.goto(f"{address}/live.html")
        page.wait_for_selector(".live-ready", timeout=120_000)

    def part(self, name):
        return self.page.locator(f"#live [data-{name}]")

    def scores(self):
        """{class: (probability, logit)} as the page shows them."""
        rows = self.page.eval_on_selector_all(
            "#live [data-scores] tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return {
            name: (float(p.removesuffix("\u00a0%")) / 100, float(z.replace("\u2212", "-"))) for name, _, p, z in rows
        }

    def logits(self):
        return [logit for _, logit in self.scores().values()]

    def choose(self, i):
        self.part("scenes").locator("button").nth(i).click()
        self.page.wait_for_selector("#live[aria-busy=false]", timeout=120_000)

    def says(self, words, part="status"):
        found = self.part(part).filter(has_text=words)
        found.wait_for(timeout=120_000)
        return found.text_content()

    def network(self, name):
        self.page.locator(f"[name=live-network][value={name}]").check(force=True)

    def brush(self, colour):
        """Take a brush; None puts it away."""
        if self.part("tools").is_visible() != (colour is not None):
            self.part("draw").click()
        if colour:
            self.page.get_by_role("radio", name=colour, exact=True).check(force=True)

    def drag(self):
        self.part("picture").scroll_into_view_if_needed()
        box = self.part("picture").bounding_box()
        self.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6, steps=4)
        self.page.mouse.up()

    def until(self, condition):
        """Wait until the page shows other logits, say, than it did."""
        for _ in range(600):
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("the page did not change in a minute")


@pytest.fixture(scope="module", params=["file", "http"])
def address(request, html, server):
    return html.as_uri() if request.param == "file" else server


@pytest.fixture(scope="module")
def driven(browser, address):
    # Without smooth scrolling: a stroke must land where the picture was a moment ago.
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield Driven(context.new_page(), address)
    context.close()


@pytest.fixture(scope="module")
def shown(coursenet):
    """The page's scenes, their labels and logits."""
    images, labels = live.scenes(coursenet)
    with torch.no_grad():
        return images, labels, coursenet(images)


def test_the_scenes_are_ten_right_ones_and_two_wrong_ones(shown):
    _, labels, logits = shown
    assert labels[:10].tolist() == list(range(10))
    assert (logits.argmax(1) == labels).tolist() == 10 * [True] + 2 * [False]


def test_a_chosen_scene_has_pytorchs_scores(driven, shown):
    _, labels, logits = shown
    for i in (6, 10):  # one that is right, one that is wrong
        driven.choose(i)
        driven.until(lambda i=i: np.allclose(driven.logits(), logits[i], atol=0.0501))
        driven.says(f"The network says {world.SHAPES[logits[i].argmax()]}")
        assert f"The truth: {world.SHAPES[labels[i]]}." in driven.part("status").text_content()
        scores = driven.scores()
        assert list(scores) == list(world.SHAPES)
        found = torch.tensor(list(scores.values()))
        assert (found[:, 1] - logits[i]).abs().max() < 0.0501  # one digit is shown
        assert (found[:, 0] - logits[i].softmax(0)).abs().max() < 0.000501
        pressed = driven.part("scenes").locator("[aria-pressed=true]")
        assert pressed.count() == 1 and pressed.text_content().strip().startswith(world.SHAPES[labels[i]])


def test_without_a_brush_nothing_is_drawn(driven):
    driven.choose(0)
    driven.brush(None)
    before = driven.logits()
    driven.drag()
    driven.page.wait_for_timeout(300)
    assert driven.logits() == before


def test_a_stroke_changes_the_scores_and_undo_takes_it_back(driven):
    driven.choose(0)
    before = driven.logits()
    driven.brush("black")
    driven.drag()
    driven.until(lambda: driven.logits() != before)
    assert driven.part("scenes").locator("[aria-pressed=true]").count() == 0
    driven.part("undo").click()
    driven.until(lambda: driven.logits() == before)


def test_the_brush_obeys_the_keyboard(driven):
    driven.choose(0)
    driven.brush("white")
    before = driven.logits()
    driven.part("picture").focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", " "):
        driven.page.keyboard.press(key)
    assert driven.part("cursor").is_visible()
    driven.until(lambda: driven.logits() != before)


def test_a_filled_picture_is_what_pytorch_sees(driven, coursenet):
    driven.choose(4)
    driven.brush("teal")
    before = driven.logits()
    driven.part("fill").click()
    driven.until(lambda: driven.logits() != before)
    teal = (world.PALETTE[world.COLOURS.index("teal")] * 255).round() / 255
    with torch.no_grad():
        logits = coursenet(teal[None, :, None, None].expand(1, 3, 96, 96))[0]
    assert np.allclose(driven.logits(), logits, atol=0.0501)
    driven.brush(None)


def upload(driven, pixels, name="mine.png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name.rsplit(".")[-1].replace("jpg", "jpeg"), **options)
    send(driven, name, buffer.getvalue())


def as_png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer


def send(driven, name, data):
    driven.part("upload").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


@pytest.mark.parametrize("form", ["as it is", "twice as large", "with margins"])
def test_an_uploaded_picture_is_cut_and_shrunk_to_96_pixels(driven, coursenet, shown, form):
    images, _, logits = shown
    driven.choose(0)
    driven.says("says disc")
    before = driven.logits()
    pixels = (images[3] * 255).byte().permute(1, 2, 0).numpy()
    if form == "twice as large":
        pixels = pixels.repeat(2, 0).repeat(2, 1)
    if form == "with margins":
        pixels = np.pad(pixels, ((0, 0), (30, 30), (0, 0)))
    if form == "twice as large":  # Lanczos's window does not give back the scene itself
        with torch.no_grad():
            true = coursenet(data.read(as_png(pixels), 96))[0]
    else:
        true = logits[3]
    upload(driven, pixels)
    driven.until(lambda: driven.logits() != before)
    assert np.allclose(driven.logits(), true, atol=0.0501)
    driven.says("has no word for anything else")


def test_a_square_is_chosen_by_hand(driven, shown):
    images, _, logits = shown
    pixels = np.concatenate([(images[i] * 255).byte().permute(1, 2, 0).numpy() for i in (3, 6)], axis=1)
    before = driven.logits()
    upload(driven, pixels)
    driven.until(lambda: driven.logits() != before)  # the keys move this picture's square
    driven.part("frame").focus()
    for i, key in ((3, "ArrowLeft"), (6, "ArrowRight")):
        for _ in range(20):
            driven.page.keyboard.press(key)
        driven.until(lambda i=i: np.allclose(driven.logits(), logits[i], atol=0.0501))
    driven.part("crop-size").fill("50")
    assert "48 pixels a side" in driven.part("frame").get_attribute("aria-label")


def test_a_turned_photograph_stands_upright(driven, coursenet, shown):
    images, _, logits = shown
    lying = images[6].rot90(1, (1, 2))
    with torch.no_grad():
        turned = coursenet(lying[None])[0]
    assert (turned - logits[6]).abs().max() > 1  # the answers differ by far more than rounding
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    pixels = (lying * 255).byte().permute(1, 2, 0).numpy()
    upload(driven, np.ascontiguousarray(pixels), "turned.jpg", exif=exif, quality=100, subsampling=0)
    driven.until(lambda: np.allclose(driven.logits(), logits[6], atol=1))


BAD = {
    "notes.jpg": (b"no picture", "notes.jpg is not a picture that this browser can read"),
    "cut.png": (None, "cut.png is not a picture that this browser can read"),
    "huge.png": (None, "huge.png has 10000 × 10000 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_taken_is_named_and_changes_nothing(driven, name):
    driven.choose(1)
    driven.says("says square")
    before = driven.logits()
    content, words = BAD[name]
    if content is None:
        buffer = io.BytesIO()
        Image.new("1", (10_000, 10_000) if name == "huge.png" else (50, 50)).save(buffer, "png")
        content = buffer.getvalue() if name == "huge.png" else buffer.getvalue()[:40]
    send(driven, name, content)
    driven.says(words)
    assert driven.logits() == before


def test_of_a_moving_picture_the_first_frame_is_taken_and_a_black_one_is_a_picture(driven, coursenet, shown):
    frames = [Image.fromarray(np.full((96, 96, 3), level, np.uint8)) for level in (0, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:])
    driven.choose(1)
    send(driven, "moving.gif", buffer.getvalue())
    with torch.no_grad():
        black = coursenet(torch.zeros(1, 3, 96, 96))[0]
    driven.until(lambda: np.allclose(driven.logits(), black, atol=0.0501))


def test_without_a_camera_the_page_says_so(driven):
    driven.part("camera").click()
    driven.says("camera")
    assert driven.part("viewfinder").is_hidden()


def test_every_layer_shows_its_maps(driven, coursenet, shown):
    driven.choose(3)
    driven.says("says star")
    with torch.no_grad():
        maps = Taps(coursenet, *LAYERS)(shown[0][3:4])
    buttons = driven.part("grid").get_by_role("radio")
    for layer in LAYERS:
        driven.part("layer").select_option(layer)
        found = maps[layer][0]
        driven.until(lambda layer=layer: layer == driven.part("grid").get_attribute("aria-label").split()[-1])
        assert buttons.count() == len(found)
        strongest = int(found.reshape(len(found), -1).amax(1).argmax())
        assert buttons.nth(strongest).get_attribute("aria-checked") == "true"
        label = buttons.nth(strongest).get_attribute("aria-label")
        assert float(label.rsplit(" ", 1)[1]) == pytest.approx(float(found.max()), abs=0.0501)


def test_a_map_is_chosen_by_a_click_or_by_arrows(driven):
    driven.part("layer").select_option("relu2")
    driven.says("relu2, channel", "map-text")
    buttons = driven.part("grid").get_by_role("radio")
    before = driven.part("large").evaluate("canvas => canvas.toDataURL()")
    buttons.nth(20).click()
    assert "relu2, channel 20:" in driven.part("map-text").text_content()
    assert "27 × 27 pixels" in driven.part("map-text").text_content()
    driven.page.keyboard.press("ArrowRight")
    assert "relu2, channel 21:" in driven.part("map-text").text_content()
    assert driven.page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
    assert driven.part("large").evaluate("canvas => canvas.toDataURL()") != before
    assert driven.page.url.endswith("live.html")


def test_a_unit_tells_why_it_responds(driven, coursenet, shown):
    driven.choose(3)
    driven.says("says star")
    driven.part("layer").select_option("relu3")
    with torch.no_grad():
        maps = Taps(coursenet, "conv3", "relu3")(shown[0][3:4])
    channel = int(maps["relu3"][0].flatten(1).amax(1).argmax())
    row, column = divmod(int(maps["relu3"][0, channel].argmax()), 12)
    driven.part("grid").get_by_role("radio").nth(channel).click()
    value = float(maps["relu3"][0, channel, row, column])
    text = driven.says(f"At row {row + 1}, column {column + 1} it has {value:.2f}", "why").replace("\u2212", "-")
    bias = float(coursenet.get_submodule("conv3").bias[channel])
    assert f"a bias of {bias:+.2f} and 64 terms, one for each channel of pool2" in text
    shown_terms = [float(term.replace("\u2212", "-")) for term in driven.part("terms").locator("b").all_text_contents()]
    rest = float(re.search(r"The other 58 add (.+)\.", driven.part("rest").text_content())[1].replace("\u2212", "-"))
    assert len(shown_terms) == 6
    assert bias + sum(shown_terms) + rest == pytest.approx(float(maps["conv3"][0, channel, row, column]), abs=0.05)
    high = driven.part("map-legend").locator("span").last.text_content()
    assert float(high) == pytest.approx(value, abs=0.051)  # the scale is the channel's own


def test_a_term_opens_to_its_numbers_and_leads_to_its_channel(driven, coursenet, shown):
    driven.choose(3)
    driven.says("says star")
    for layer, inputs in (("relu2", "pool1"), ("relu3", "pool2")):
        driven.part("layer").select_option(layer)
        driven.says(f"of {inputs}", "why")
    first = driven.part("terms").locator("summary").first
    first.focus()
    driven.page.keyboard.press("Enter")
    tables = driven.part("terms").locator("table")
    tables.nth(2).wait_for()
    window, kernel, product = (
        [float(cell.replace("\u2212", "-")) for cell in tables.nth(i).locator("td").all_text_contents()]
        for i in range(3)
    )
    assert len(window) == len(kernel) == len(product) == 9
    assert np.allclose(np.multiply(window, kernel), product, atol=0.05)
    total = float(first.locator("b").text_content().replace("\u2212", "-"))
    assert sum(product) == pytest.approx(total, abs=0.05)
    channel = int(re.search(r"channel (\d+) of pool2", first.text_content())[1])
    driven.page.get_by_role("button", name=f"Go to channel {channel} of pool2").click()
    driven.says(f"pool2, channel {channel}:", "map-text")
    assert driven.part("layer").input_value() == "pool2"
    driven.says("of pool1", "why")
    with torch.no_grad():
        found = Taps(coursenet, "pool2")(shown[0][3:4])["pool2"][0, channel]
    row, column, value = re.search(
        r"row (\d+), column (\d+) it has ([\d.]+)", driven.part("why").text_content()
    ).groups()
    assert float(found[int(row) - 1, int(column) - 1]) == pytest.approx(float(value), abs=0.0051)


def test_a_position_is_chosen_on_the_map(driven, coursenet, shown):
    driven.choose(3)
    driven.says("says star")
    driven.part("layer").select_option("relu2")
    driven.says("of pool1", "why")
    with torch.no_grad():
        found = Taps(coursenet, "relu2")(shown[0][3:4])["relu2"][0]
    driven.part("grid").get_by_role("radio").nth(5).click()
    large = driven.part("large")
    large.scroll_into_view_if_needed()
    box = large.bounding_box()
    large.click(position={"x": box["width"] * 31 / 96, "y": box["height"] * 49 / 96})  # fields' middles are 4 apart
    row, column = (round((v - receptive_field(coursenet, "relu2").start - 13) / 4) for v in (49, 31))
    driven.says(f"At row {row + 1}, column {column + 1} it has {float(found[5, row, column]):.2f}", "why")
    large.focus()
    driven.page.keyboard.press("ArrowDown")
    driven.says(f"At row {row + 2}, column {column + 1} it has {float(found[5, row + 1, column]):.2f}", "why")


def test_a_unit_shows_its_patches_and_what_it_wants(driven, written):
    driven.part("layer").select_option("relu2")
    driven.part("grid").get_by_role("radio").nth(7).click()
    text = (written / "static" / "live" / "units-coursenet.js").read_text()
    values = json.loads(text[text.index("coursenet: ") + 11 : -4])["layers"]["relu2"]["values"][7]
    driven.says(f"from {values[0]:.2f} down to {values[8]:.2f}", "patches-text")
    driven.says("gradient ascent on one unit of relu2, which sees 27 × 27 pixels", "wanted-text")
    for name in ("patches", "wanted"):
        assert "channel 7 of relu2" in driven.part(name).get_attribute("aria-label")
    if driven.page.url.startswith("http"):  # beside a file, a browser does not give back the pixels of images
        with Image.open(units.sheet("coursenet", "relu2")) as sheet:
            tile = np.asarray(sheet.convert("RGB").crop((7 * 27, 0, 8 * 27, 27))).mean((0, 1))
        pixels = driven.part("wanted").evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        )
        assert np.allclose(np.array(pixels).reshape(-1, 4)[:, :3].mean(0), tile, atol=6)
    driven.part("layer").select_option("fc7")
    driven.says("stored for relu1, relu2, relu3, relu4, relu5.", "stored-text")
    assert driven.part("patches").is_hidden()


def test_the_slider_fools_the_network_as_fgsm_does(driven, coursenet, shown):
    images, _, logits = shown
    driven.choose(3)
    driven.says("says star")
    driven.part("epsilon").fill("4")
    driven.says("Every value moved by at most 4/255", "pushed-text")
    with torch.no_grad():
        pushed = coursenet(adversarial.fgsm(coursenet, images[3:4], 3, 4 / 255))[0]
    assert f"says {world.SHAPES[pushed.argmax()]}" in driven.part("pushed-text").text_content()
    assert "It said star" in driven.part("pushed-text").text_content()
    driven.says("Pushed by 4/255")  # on the stage, which stays in sight
    # The package's gradient is in single precision, which turns some signs where the network is as sure as here.
    assert np.allclose(driven.logits(), pushed, atol=0.3)
    driven.part("direction").select_option("10")
    driven.until(lambda: driven.logits()[3] < float(pushed[3]) - 1)  # ten steps go further than one
    driven.part("direction").select_option("random")
    driven.says("along random signs: the network says star", "pushed-text")
    assert np.allclose(driven.logits(), logits[3], atol=2)
    driven.part("epsilon").fill("0")
    driven.says("Nothing is changed yet", "pushed-text")
    driven.until(lambda: np.allclose(driven.logits(), logits[3], atol=0.0501))


def test_the_patch_walks_and_can_be_stopped(driven, coursenet, shown):
    driven.choose(9)
    driven.says("says drop")
    # in the page itself: on a busy machine the walk may be over before anybody outside has looked
    running, stopped = driven.part("walk").evaluate("""async (button) => {
        button.click();
        const running = button.textContent, bar = document.querySelector("[data-walked]");
        while ((bar.getAttribute("value") || "0") === "0") await new Promise(requestAnimationFrame);
        button.click();
        return [running, button.textContent];
    }""")
    assert running == "Stop" and stopped != "Stop" and driven.part("walked").is_hidden()
    if driven.page.url.startswith("http"):  # once is enough: the walk is long on a busy machine
        driven.part("walk").click()
        text = driven.says("The logit of drop falls most", "heat-text")
        grid = attribution.occlusion_grid(coursenet, shown[0][9:10], 9, 16, 8, score="logit")
        assert f"by {float(shown[2][9, 9] - grid.min()):.1f}," in text
        assert "At 10 of 121 positions" in text
        driven.choose(8)
        driven.until(lambda: driven.part("heat-text").text_content() == "")


def test_the_patch_is_led_by_hand(driven, coursenet, shown):
    driven.choose(9)
    driven.says("says drop")
    driven.part("by-hand").click()
    driven.part("picture").focus()
    driven.page.keyboard.press("ArrowDown")
    driven.says("Covered")
    covered = shown[0][9:10].clone()
    covered[:, :, 46:62, 40:56] = 0.5  # 16 pixels around the middle, moved by 6
    with torch.no_grad():
        true = coursenet(covered)[0]
    driven.until(lambda: np.allclose(driven.logits(), true, atol=0.0501))
    driven.part("by-hand").click()
    driven.until(lambda: np.allclose(driven.logits(), shown[2][9], atol=0.0501))


TECHNIQUES = (
    "the saliency map",
    "guided backpropagation",
    "the fast gradient sign method",
    "projected gradient descent",
    "a targeted attack",
    "a fooling image",
    "gradient ascent on a class",
    "gradient ascent on a channel",
    "DeepDream",
    "inversion",
)


def test_every_technique_is_named_when_its_menus_are_set(driven):
    driven.choose(3)
    driven.says("says star")
    names = driven.part("technique").locator("option").all_text_contents()[1:]
    assert tuple(names) == TECHNIQUES
    formulas = set()
    for name in TECHNIQUES:
        driven.part("technique").select_option(name)
        driven.says(f"This is {name}", "name")
        formulas.add(driven.part("formula").text_content())
        page = driven.part("name").locator("a").get_attribute("href")
        assert re.fullmatch(r"0[5-9]_\w+\.html", page)
    assert len(formulas) == len(TECHNIQUES)


@pytest.fixture(scope="module", params=["390 px, by touch", "1400 px, by keys"])
def at_hand(browser, html, request):
    """The page on a phone and on a desk, and how a control is used there."""
    phone = request.param.startswith("390")
    size = {"width": 390, "height": 844} if phone else {"width": 1400, "height": 1000}
    context = browser.new_context(viewport=size, reduced_motion="reduce", has_touch=phone)
    driven = Driven(context.new_page(), html.as_uri())

    def use(name, choice=None):
        element = driven.part(name)
        if phone:
            element.tap()
            if choice is not None:
                element.select_option(choice)  # the list that opens is the phone's own
            return
        element.focus()
        if choice is None:
            driven.page.keyboard.press("Enter")
        else:
            driven.page.keyboard.type(choice)

    driven.choose(3)
    driven.says("says star")
    yield driven, use
    context.close()


@pytest.mark.parametrize("name", TECHNIQUES)
def test_each_technique_is_reached_by_touch_and_by_keys_and_is_pytorchs(at_hand, coursenet, shown, name):
    driven, use = at_hand
    x, label = shown[0][3:4], 3
    use("technique", name)
    driven.says(f"This is {name}", "name")
    if int(driven.part("steps").input_value()) > 10:
        driven.part("steps").select_option("10")
    use("run")
    if driven.part("steps").input_value() == "0":
        driven.says("The gradient of CourseNet", "lab-text")
        rule = "guided" if name.startswith("guided") else "gradient"
        true = attribution.gradient(coursenet, x, label, rule=rule).abs().amax(1)
        high = driven.part("gradient-legend").locator("span").last.text_content()
        assert float(high) == pytest.approx(float(true.max()), rel=1e-3, abs=1e-4)
        return
    steps = driven.part("steps").input_value()
    text = driven.says("after 1 step." if steps == "1" else f"after {steps} steps.", "lab-text")
    first, last = (
        float(v.replace("\u2212", "-")) for v in re.search(r"energy (\S+) at the start, (\S+) after", text).groups()
    )
    assert last < first
    with driven.page.expect_download() as download:
        driven.part("save").click()
    found = data.read(download.value.path(), None)
    with torch.no_grad():
        logits = coursenet(found)[0]
    assert np.allclose(driven.logits(), logits, atol=0.2)  # the file has 8 bits a value
    if name in TECHNIQUES[2:5]:
        assert (found - x).abs().max() < 4.6 / 255
    if name == "the fast gradient sign method":
        with torch.no_grad():
            pushed = coursenet(adversarial.fgsm(coursenet, x, label, 4 / 255))[0]
        assert np.allclose(driven.logits(), pushed, atol=0.4)


def test_ten_steps_of_ascent_through_the_menus_are_pytorchs(at_hand, coursenet, shown):
    driven, use = at_hand
    x = shown[0][3:4]
    use("technique", "gradient ascent on a class")
    driven.says("This is gradient ascent on a class", "name")
    for name, choice in (("start", "picture"), ("transform", "none"), ("steps", "10")):
        driven.part(name).select_option(choice)
    weight = float(driven.part("weight").input_value())
    use("run")
    text = driven.says("after 10 steps.", "lab-text").replace("\u2212", "-")
    ends = [float(v) for v in re.search(r"energy (\S+) at the start, (\S+) after", text).groups()]
    image, energies = pytorchs(coursenet, x, 10, "fc8", lambda z: -z[0, 3], weight)
    assert ends == pytest.approx([energies[0], energies[-1]], rel=1e-2)
    with driven.page.expect_download() as download:
        driven.part("save").click()
    found = data.read(download.value.path(), None)
    assert (found - image).abs().mean() < 0.1 * (image - x).abs().mean()


def test_a_technique_is_hit_upon_by_the_menus(driven):
    driven.part("technique").select_option("the saliency map")
    driven.part("loss").select_option("away")
    driven.part("regulariser").select_option("ball")
    driven.part("steps").select_option("1")
    driven.says("This is the fast gradient sign method", "name")
    driven.part("steps").select_option("10")
    driven.says("This is projected gradient descent", "name")


def test_the_energy_runs_pauses_steps_and_ends(driven):
    driven.choose(3)
    driven.says("says star")
    driven.part("technique").select_option("gradient ascent on a class")
    driven.part("steps").select_option("200")
    driven.part("run").click()
    driven.part("pause").click()
    step = re.compile(r"at step (\d+) of 200")
    driven.says("at step", "curve-text")
    driven.page.wait_for_timeout(1000)
    before = int(step.search(driven.part("curve-text").text_content())[1])
    driven.part("one").click()
    driven.until(lambda: int(step.search(driven.part("curve-text").text_content())[1]) == before + 1)
    driven.part("stop").click()
    assert driven.part("pause").is_disabled()
    driven.part("steps").select_option("10")
    driven.part("run").click()
    text = driven.says("after 10 steps", "lab-text").replace("\u2212", "-")
    first, last = (float(x) for x in re.search(r"energy (-?[\d.]+) at the start, (-?[\d.]+) after", text).groups())
    assert last < first
    with driven.page.expect_download() as download:
        driven.part("save").click()
    with Image.open(download.value.path()) as saved:
        assert saved.size == (96, 96)


def test_menus_that_do_not_go_together_are_said(driven):
    driven.part("technique").select_option("the saliency map")
    driven.part("channel").fill("unicorn")
    driven.says("There is no class “unicorn”", "formula")
    assert driven.part("run").is_disabled()
    driven.part("channel").fill("ring")
    assert driven.part("run").is_enabled()
    driven.part("loss").select_option("code")
    driven.says("This picture has its own code already", "formula")


def test_axe_finds_no_barrier_where_a_term_is_open(driven):
    if not AXE.exists():
        pytest.skip("NO AXE: the book was built without npm, and nothing looks for barriers")
    driven.part("layer").select_option("relu3")
    driven.says("of pool2", "why")
    driven.part("terms").locator("summary").first.click()
    driven.part("terms").locator("table").first.wait_for()
    driven.page.evaluate(AXE.read_text())
    found = driven.page.evaluate(
        """async () => (await axe.run("#live", { preload: false, resultTypes: ["violations"] })).violations
            .filter(({ impact }) => ["serious", "critical"].includes(impact))
            .flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.html}`))"""
    )
    assert found == []


def test_nothing_to_touch_is_below_44_pixels(driven):
    driven.part("terms").locator("summary").first.click()
    driven.brush("black")
    touched = (
        "button, select, summary, .live-choice label, .live-swatches label, input:not([type=checkbox], [type=radio])"
    )
    small = driven.page.evaluate(
        """touched => [...document.querySelectorAll(`.live-app :is(${touched})`)]
            .map(e => [e.outerHTML.slice(0, 60), e.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 43.5 || box.width < 43.5)).map(([name]) => name)""",
        touched,
    )
    driven.brush(None)
    assert small == []


def test_everything_has_a_name_for_those_who_listen(driven):
    """Chromium's own names of the controls and pictures."""
    lines = driven.page.locator("#live .live-app").aria_snapshot().splitlines()
    roles = "button|radio|slider|combobox|checkbox|img|application|progressbar|radiogroup|group|table"
    parts = [line.strip(" -'") for line in lines if re.match(rf"\s*- '?({roles})\b", line)]
    assert len(parts) > 100
    assert [part for part in parts if not re.match(r'\w+ ".+"', part) and not part.startswith("table")] == []


def test_no_error_and_no_request_to_another_machine(driven, html):
    # Of every page of the theme: a browser does not load fonts beside a file, and the book has no icon.
    known = r"/webfonts/|/favicon.ico"
    assert [c for c in driven.complaints if not re.search(known, c)] == []
    if not (html / "_static" / "mathjax").exists():
        pytest.skip("NOT SELF-CONTAINED: the book was built without npm, and its pages load MathJax from the network")
    assert driven.outside == []


def test_nothing_sticks_out_of_a_phone(driven):
    driven.page.set_viewport_size({"width": 360, "height": 740})
    driven.page.wait_for_timeout(200)
    assert driven.page.evaluate("document.documentElement.scrollWidth") <= 360
    driven.part("run").scroll_into_view_if_needed()  # far below, and still in sight:
    for name in ("picture", "status"):
        box = driven.part(name).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 740
    driven.page.set_viewport_size({"width": 1280, "height": 900})


def test_on_paper_the_recorded_version_stands(driven):
    recorded, app = driven.page.locator(".live-recorded"), driven.page.locator(".live-app")
    assert app.is_visible() and recorded.is_hidden()
    driven.page.emulate_media(media="print")
    assert app.is_hidden() and recorded.is_visible()
    driven.page.emulate_media(media="screen")


# ---------------------------------------------------------------- without scripts, without motion


def test_without_scripts_the_recorded_version_stands(browser, html):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "live.html").as_uri())
    recorded = page.locator(".live-recorded")
    assert recorded.is_visible()
    pictures = recorded.get_by_role("img")
    assert pictures.count() == 10
    assert all(len(picture.get_attribute("alt")) > 30 for picture in pictures.all())
    assert "star" in recorded.locator(".live-winner").text_content()
    context.close()


def test_the_recorded_pushes_are_what_the_network_says(written, coursenet, shown):
    text = (written / "recorded.html").read_text()
    for step in live.EPSILONS:
        with torch.no_grad():
            said = coursenet(adversarial.fgsm(coursenet, shown[0][3:4], 3, step / 255))[0].softmax(0)
        assert f"ε = {step}/255: {world.SHAPES[said.argmax()]}, {100 * said.max():.0f}\u00a0%" in text


def test_the_patch_does_not_jump_about_for_those_who_want_no_motion(browser, html):
    context = browser.new_context(reduced_motion="reduce")
    driven = Driven(context.new_page(), html.as_uri())
    driven.says("says star")
    before = driven.part("picture").evaluate("canvas => canvas.toDataURL()")
    driven.part("walk").click()
    driven.until(lambda: int(driven.part("walked").get_attribute("value") or 0) >= 3)
    assert driven.part("picture").evaluate("canvas => canvas.toDataURL()") == before
    context.close()


# ---------------------------------------------------------------- the second network


@pytest.fixture(scope="module")
def with_lite0(browser, html):
    """The page with EfficientNet-Lite0 at work on the first photograph."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce", has_touch=True)
    driven = Driven(context.new_page(), html.as_uri())
    driven.network("lite0")
    driven.says("cat")
    yield driven
    context.close()


def test_a_photograph_has_pytorchs_five_classes(with_lite0, lite0):
    x = data.photograph("coffee")
    pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
    upload(with_lite0, pixels)
    with_lite0.says("says espresso")
    with torch.no_grad():
        logits = lite0(x)[0]
    best = logits.topk(5)
    scores = with_lite0.scores()
    assert list(scores) == [lite0.classes[k] for k in best.indices]
    assert np.allclose([logit for _, logit in scores.values()], best.values, atol=0.0601)
    assert np.allclose([p for p, _ in scores.values()], logits.softmax(0)[best.indices], atol=0.003)


def test_a_weak_answer_is_called_one(with_lite0):
    with_lite0.choose(3)  # a rocket in the evening, small in its picture
    with_lite0.says("none of its 1000 classes with any certainty; the best is")


def test_a_photograph_is_fooled_by_touch(with_lite0):
    with_lite0.choose(1)
    with_lite0.says("says espresso")
    with_lite0.part("technique").select_option("projected gradient descent")
    with_lite0.part("run").tap()
    with_lite0.says("after 10 steps", "lab-text")
    assert "espresso" not in with_lite0.says("Projected gradient descent:")


def test_a_unit_of_a_block_is_explained_by_touch(with_lite0, lite0):
    with_lite0.choose(1)
    with_lite0.says("says espresso")
    with_lite0.part("layer").select_option("block5")
    with_lite0.says("one unit of block5", "wanted-text")
    with_lite0.part("grid").get_by_role("radio").nth(9).tap()
    with torch.no_grad():
        found = Taps(lite0, "block4", "block5")(data.photograph("coffee"))
    row, column = divmod(int(found["block5"][0, 9].argmax()), 28)
    text = with_lite0.says(f"At row {row + 1}, column {column + 1} it has", "why").replace("\u2212", "-")
    value, skipped = re.search(r"it has (\S+): .* and (\S+) that block4 adds", text).groups()
    assert float(value) == pytest.approx(float(found["block5"][0, 9, row, column]), abs=0.02)
    assert float(skipped) == pytest.approx(float(found["block4"][0, 9, row, column]), abs=0.02)
    with_lite0.part("terms").locator("summary").first.tap()
    with_lite0.page.get_by_role("button", name="of block5.depthwise_relu").first.tap()
    with_lite0.says("of block5.expand_relu", "why")  # a layer inside the block
    assert with_lite0.part("layer").input_value() == "block5.depthwise_relu"


def test_weights_of_the_second_network_that_do_not_come_break_nothing(browser, html):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    text = (html / "_static" / "live" / "lite0-6.js").read_text()
    cut = text[: len(text) // 2] + '");'
    # Before the page is opened: of a page that is a file, Chromium does not hand over requests afterwards.
    page.route("**/lite0-6.js*", lambda route: route.fulfill(body=cut, content_type="text/javascript"))
    driven = Driven(page, html.as_uri())
    driven.network("lite0")
    driven.says("lite0-6.js is incomplete", "loading-text")
    driven.choose(1)
    driven.says("says square")  # the first network is still there
    driven.page.unroute("**/lite0-6.js*")
    driven.part("retry").click()
    driven.says("cat")
    context.close()


def test_the_way_back_to_the_drawn_scenes(with_lite0):
    with_lite0.network("coursenet")
    with_lite0.says("says star")
    assert len(with_lite0.scores()) == 10


# ---------------------------------------------------------------- when something is missing


def test_a_missing_part_is_named_and_the_recorded_version_stays_until_it_comes(browser, html):
    page = browser.new_page()
    page.route("**/coursenet-3.js*", lambda route: route.abort())
    page.goto((html / "live.html").as_uri())
    page.get_by_text("The network could not be loaded (coursenet-3.js").wait_for()
    assert page.locator(".live-recorded").is_visible()
    page.unroute("**/coursenet-3.js*")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".live-ready", timeout=120_000)
    page.close()


def test_weights_that_are_cut_off_are_asked_for_again(browser, html):
    text = (html / "_static" / "live" / "coursenet-2.js").read_text()
    asked = []

    def answer(route):
        asked.append(route.request.url)
        cut = text[: len(text) // 2] + '");' if len(asked) == 1 else text
        route.fulfill(body=cut, content_type="text/javascript")

    page = browser.new_page()
    page.route("**/coursenet-2.js*", answer)
    page.goto((html / "live.html").as_uri())
    page.wait_for_selector(".live-ready", timeout=120_000)
    assert len(asked) == 2 and "again=" in asked[1]
    page.close()


def test_without_workers_the_page_does_the_work_itself(browser, html):
    context = browser.new_context()
    context.add_init_script("delete globalThis.Worker; delete globalThis.WebAssembly;")
    driven = Driven(context.new_page(), html.as_uri())
    driven.says("The network says star")
    assert driven.page.evaluate("[live.inWorker, live.engine.name]") == [False, PLAIN]
    driven.part("technique").select_option("the fast gradient sign method")
    driven.part("run").click()
    driven.says("after 1 step", "lab-text")
    context.close()


def test_only_this_page_loads_the_network(html):
    users = [page.name for page in html.glob("*.html") if "_static/live/" in page.read_text()]
    assert users == ["live.html"]
