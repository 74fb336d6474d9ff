"""A feed-forward styler, AdaIN (Huang and Belongie 2017), trained on the course's own drawn paintings.

The encoder is VGG-19 up to relu4_1, fixed. The code a of the content takes, in each channel, the mean m and the
standard deviation s of the style's code b, and a small decoder D paints the image from it:

    t = s(b) (a - m(a)) / s(a) + m(b),    x = D(t)

    python -m tools.adain --minutes 5 --out /tmp/adain

`--minutes` bounds the training by the clock. The log says the seconds a step; `decoder.safetensors` holds the weights
in half precision, `seen.png` a photograph that was not trained on, in the three drawn styles.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib import data, models, paintings, plotting, world
from course_lib.images import resize
from course_lib.taps import Taps

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SIDE, BATCH, RATE, STYLE = 128, 4, 1e-3, 10.0
HELD_OUT = "chelsea"
PAINTINGS = 16  # of each kind
CROPS = 48  # of each photograph
SCENES = 96


class Decoder(nn.Sequential):
    """From a code (n, 512, h / 8, w / 8) to an image (n, 3, h, w); a sigmoid keeps it in [0, 1]. 1.5 M weights."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        widths = (512, 192, 192, 0, 96, 96, 0, 48, 48, 0, 24)  # 0: twice the side
        channels = widths[0]
        for width in widths[1:]:
            if width == 0:
                layers.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1, padding_mode="replicate"), nn.ReLU()]
                channels = width
        super().__init__(*layers, nn.Conv2d(channels, 3, 3, padding=1, padding_mode="replicate"), nn.Sigmoid())


class Statistics(NamedTuple):
    """Mean and standard deviation of the channels of a layer, (n, c, 1, 1) each."""

    mean: Tensor
    deviation: Tensor


def statistics(a: Tensor) -> Statistics:
    """Mean and standard deviation over the positions of maps (n, c, h, w)."""
    return Statistics(a.mean((2, 3), keepdim=True), (a.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt())


def exchanged(a: Tensor, style: Statistics) -> Tensor:
    """Adaptive instance normalisation: the maps a with the style's mean and deviation in each channel."""
    own = statistics(a)
    return style.deviation * (a - own.mean) / own.deviation + style.mean


# ---------------------------------------------------------------- what is learned from


def contents() -> Tensor:
    """Crops of photographs and drawn scenes, (n, 3, SIDE, SIDE)."""
    generator = torch.Generator().manual_seed(0)
    crops = []
    for name in data.photographs():
        if name == HELD_OUT:
            continue
        whole = data.photograph(name, 320)
        for _ in range(CROPS):
            side = int(torch.randint(SIDE, 321, (), generator=generator))
            y, x = (int(torch.randint(whole.shape[d] - side + 1, (), generator=generator)) for d in (2, 3))
            crops.append(resize(whole[..., y : y + side, x : x + side], (SIDE, SIDE)).clamp(0, 1))
    return torch.cat([*crops, resize(world.draw(SCENES, seed=7).images, (SIDE, SIDE)).clamp(0, 1)])


def styles() -> Tensor:
    """Drawn paintings, each in two orders of its colours, (n, 3, SIDE, SIDE)."""
    generator = torch.Generator().manual_seed(1)
    drawn = [paint(seed) for seed in range(PAINTINGS) for paint in (paintings.night, paintings.glass)]
    drawn += [paintings.engraving(seed) for seed in range(PAINTINGS)]
    small = [resize(x, (2 * SIDE, 2 * SIDE)).clamp(0, 1) for x in drawn]
    crops = []
    for image in small:
        y, x = (int(torch.randint(SIDE + 1, (), generator=generator)) for _ in range(2))
        crop = image[..., y : y + SIDE, x : x + SIDE]
        crops += [crop, crop[:, torch.randperm(3, generator=generator)]]
    return torch.cat(crops)


@torch.no_grad()
def encoded(encoder: Taps, images: Tensor) -> tuple[Tensor, dict[str, Statistics]]:
    """The codes, in half precision, and the statistics of all layers: computed once, used in every step."""
    codes, parts = [], []
    for x in torch.split(images, 8):
        a = encoder(x)
        codes.append(a[LAYERS[-1]].half())
        parts.append({layer: statistics(a[layer]) for layer in LAYERS})
    whole = {layer: Statistics(*(torch.cat([part[layer][i] for part in parts]) for i in range(2))) for layer in LAYERS}
    return torch.cat(codes), whole


# ---------------------------------------------------------------- training


def loss_of(encoder: Taps, image: Tensor, goal: Tensor, style: dict[str, Statistics]) -> tuple[Tensor, Tensor]:
    """What is lost of the content, ``|f(x) - t|^2``, and of the style, the statistics of each layer; means."""
    a = encoder(image)
    pairs = [(statistics(a[layer]), style[layer]) for layer in LAYERS]
    return F.mse_loss(a[LAYERS[-1]], goal), torch.stack(
        [F.mse_loss(own[i], wanted[i]) for own, wanted in pairs for i in range(2)]
    ).sum()


def train(encoder: Taps, decoder: Decoder, minutes: float) -> list[tuple[float, float]]:
    """Train until the time is up; returns (content, style) of each step."""
    begun = time.perf_counter()
    codes, _ = encoded(encoder, contents())
    _, wanted = encoded(encoder, styles())
    count = len(wanted[LAYERS[0]].mean)
    print(f"{len(codes)} contents, {count} styles encoded in {time.perf_counter() - begun:.0f} s", flush=True)
    generator, history = torch.Generator().manual_seed(2), []
    optimizer = torch.optim.Adam(decoder.parameters(), RATE)
    begun = time.perf_counter()
    while (spent := time.perf_counter() - begun) < 60 * minutes:
        optimizer.param_groups[0]["lr"] = RATE * (1 - 0.9 * spent / (60 * minutes))
        rows = torch.randint(len(codes), (BATCH,), generator=generator)
        chosen = torch.randint(count, (BATCH,), generator=generator)
        style = {layer: Statistics(*(v[chosen] for v in wanted[layer])) for layer in LAYERS}
        goal = exchanged(codes[rows].float(), style[LAYERS[-1]])
        content_lost, style_lost = loss_of(encoder, decoder(goal), goal, style)
        optimizer.zero_grad()
        (content_lost + STYLE * style_lost).backward()
        optimizer.step()
        history.append((float(content_lost.detach()), float(style_lost.detach())))
        if len(history) % 20 == 0:
            recent = torch.tensor(history[-20:]).mean(0).tolist()
            each = (time.perf_counter() - begun) / len(history)
            print(
                f"step {len(history)}: {each:.2f} s a step, content {recent[0]:.3f}, style {recent[1]:.3f}", flush=True
            )
    return history


@torch.no_grad()
def stylized(encoder: Taps, decoder: Decoder, content: Tensor, style: Tensor) -> Tensor:
    """The content in the style, both (1, 3, h, w) in [0, 1], sides that are multiples of 8."""
    a, b = (encoder(image)[LAYERS[-1]] for image in (content, style))
    painted: Tensor = decoder(exchanged(a, statistics(b)))
    return painted


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save the decoder, and show it."""
    parser = argparse.ArgumentParser(prog="python -m tools.adain", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    encoder = Taps(models.load("vgg19_features"), *LAYERS)
    decoder = Decoder().to(memory_format=torch.channels_last)
    train(encoder, decoder, given.minutes)
    weights = {name: value.half().contiguous() for name, value in decoder.state_dict().items()}
    save_file(weights, given.out / "decoder.safetensors")
    content = data.photograph(HELD_OUT, 256)
    shown, begun = [content], time.perf_counter()
    for paint in (paintings.night, paintings.glass, paintings.engraving):
        style = paint()
        shown += [style, stylized(encoder, decoder, content, style)]
    print(f"{1000 * (time.perf_counter() - begun) / 3:.0f} ms an image of 256 px, style encoded and drawn")
    (given.out / "seen.png").write_bytes(plotting.encode(torch.cat([resize(x, (256, 256)) for x in shown], 3), "png"))


if __name__ == "__main__":
    main()
