"""How the shipped generator learns to paint scenes from codes."""

import torch
from torch import Tensor

from course_lib import world
from course_lib.energy import distance
from course_lib.generator import LAYER, UNITS, Generator, fingerprint
from course_lib.models import Network
from course_lib.optimizers import OneCycle
from course_lib.progress import bar
from course_lib.taps import Taps
from course_lib.world.scenes import plan_scenes, render

SCENES = 16_384
STEPS = 4000
BATCH = 32
RATE = 3e-3
CODE, GRAIN = 0.02, 0.05
FIRST_SEED = 1_000_500_000  # beyond the scenes that CourseNet was trained on
BLOCK = 512
PLACED = ("shape", "x", "y", "radius", "angle")  # what the code keeps of a scene
DRESS = 17  # the scene, the first seed's, that lends its colour, texture and background to all: yellow on leaves


def draw_pairs(net: Network, scenes: int = SCENES) -> tuple[Tensor, Tensor]:
    """Codes of drawn scenes, and the same objects in one dress as bytes.

    CourseNet's code keeps the shape, its position, size and angle, and forgets colour, texture and background. For what
    is not in the code a generator learns the average of all colours, a fog. So every object is painted in the same
    colour before the same background.

    Args:
        net: CourseNet, which gives the codes.
        scenes: How many scenes.

    Returns:
        Codes (scenes, 256) and images (scenes, 3, 96, 96) uint8.
    """
    codes, images = torch.empty(scenes, UNITS), torch.empty(scenes, 3, 96, 96, dtype=torch.uint8)
    wardrobe = _plan(0)
    for block in bar(range(-(-scenes // BLOCK)), desc="drawing", unit=f"x {BLOCK} scenes"):
        rows = slice(block * BLOCK, min((block + 1) * BLOCK, scenes))
        n = rows.stop - rows.start
        codes[rows] = _codes(net, world.draw(n, seed=FIRST_SEED + block).images)
        images[rows] = _dressed({name: value[:n] for name, value in _plan(block).items()}, wardrobe)
    return codes, images


def _plan(block: int) -> dict[str, Tensor]:
    """The choices that `world.draw` makes for a block of scenes."""
    return plan_scenes(BLOCK, torch.Generator().manual_seed(2 * (FIRST_SEED + block)), 0.0, 0.0)


def _dressed(plan: dict[str, Tensor], wardrobe: dict[str, Tensor]) -> Tensor:
    n = len(plan["shape"])
    dressed = {name: value[DRESS : DRESS + 1].expand(n, *value.shape[1:]) for name, value in wardrobe.items()}
    dressed |= {name: plan[name] for name in PLACED}
    images = []
    for part in torch.split(torch.arange(n), 64):
        still = torch.Generator().manual_seed(0)
        images.append(render({name: value[part] for name, value in dressed.items()}, 96, still)[0])
    return (torch.cat(images) * 255).round().byte()


@torch.no_grad()
def _codes(net: Network, images: Tensor) -> Tensor:
    tap = Taps(net, LAYER)
    return torch.cat([tap(x)[LAYER] for x in torch.split(images, 64)])


def generator(net: Network, codes: Tensor, images: Tensor, steps: int = STEPS, seed: int = 0) -> Generator:
    """``argmin over weights of the mean of |G(c) - x| + w |f(G(c) + e) - c|^2 / |c|^2``.

    Pairs (c, x) come from `draw_pairs`, f is the code, e is Gaussian noise of GRAIN, which hides what no eye would see;
    w is 0 in the first half of the steps and CODE in the second. Without w, a shape whose angle is uncertain stays a
    disc.

    Args:
        net: CourseNet, whose code f is.
        codes: (scenes, 256), from `draw_pairs`.
        images: (scenes, 3, 96, 96) uint8, from `draw_pairs`.
        steps: Number of steps, both halves together.
        seed: Seed of the initial weights, the batches and the noise.

    Returns:
        The generator, in evaluation mode.

    Source: Dosovitskiy and Brox 2016. Deviation: they also add a critic; with one dress there is nothing left that it
    would have to make up.
    """
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their initial weights from the global generator
        made = Generator().to(memory_format=torch.channels_last).train()
    made.get_buffer("typical").copy_(codes.mean(0))
    made.get_buffer("high").copy_(codes.mean(0) + 3 * codes.std(0))
    made.get_buffer("network").copy_(fingerprint(net))
    with torch.no_grad():
        made.backdrop.copy_((images[:BLOCK].float() / 255).median(0).values.logit(0.01))
    for weight in (0.0, CODE):
        _fit(made, net, codes, images, steps // 2, weight, draws)
    return made.eval()


def _fit(
    made: Generator,
    net: Network,
    codes: Tensor,
    images: Tensor,
    steps: int,
    weight: float,
    generator: torch.Generator,
) -> None:
    tap = Taps(net, LAYER)
    cycle = OneCycle(made, steps, rate=RATE, rise=0.1, decay=0.01)
    progress = bar(range(steps), desc=f"training, code {weight:g}", unit="step")
    for step in progress:
        rows = torch.randint(len(codes), (BATCH,), generator=generator)
        c, x = codes[rows], images[rows].float() / 255
        y = made(c)
        loss = (y - x).abs().mean()
        if weight:
            seen = y + GRAIN * torch.randn(y.shape, generator=generator)
            loss = loss + weight / BATCH * distance({LAYER: c})(tap(seen), seen)
        cycle.step(loss)
        if step % 50 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")
