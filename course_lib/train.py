"""Makes the shipped weights: `python -m course_lib.train NAME`."""

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from tqdm.auto import tqdm

from course_lib import models, world

SCENES = 98_304  # drawn once, as bytes (2.7 GB), then seen PASSES times, each time in another of eight poses
PASSES = 3
BATCH = 64
FIRST_SEED = 1_000_000_000  # scenes with smaller seeds are never trained on


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course_lib.train", description=__doc__)
    parser.add_argument("name", choices=["coursenet"])
    parser.add_argument("--seed", type=int, default=0, help="of the scenes and of the start (default 0)")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"how many are drawn (default {SCENES})")
    parser.add_argument("--passes", type=int, default=PASSES, help=f"how often each is seen (default {PASSES})")
    parser.add_argument("--out", type=Path, default=models.SHIPPED, help="folder (default: the package's own)")
    arguments = parser.parse_args()
    # Once the network is sure, gradients sink below 1e-38, where processors are slow. Before any worker thread starts.
    torch.set_flush_denormal(True)
    pictures, labels = draw_ahead(arguments.scenes, arguments.seed)
    network = coursenet(pictures, labels, arguments.passes, arguments.seed)
    save(network, arguments.out / f"coursenet-{arguments.seed}.safetensors")
    for shape, accuracy in zip(world.SHAPES, accuracies(network).tolist(), strict=True):
        print(f"{shape:10} {accuracy:.3f}")
    print(f"{'all':10} {accuracies(network).mean():.4f}")


def draw_ahead(scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scenes as bytes (scenes, 3, 96, 96), with their labels. Seed s draws from FIRST_SEED + 10_000 s onwards."""
    block = 1024
    pictures = torch.empty(scenes, 3, 96, 96, dtype=torch.uint8)
    labels = torch.empty(scenes, dtype=torch.long)
    for index, start in enumerate(tqdm(range(0, scenes, block), desc="drawing", unit="k scenes")):
        drawn = world.draw(min(block, scenes - start), seed=FIRST_SEED + 10_000 * seed + index)
        pictures[start : start + block] = (drawn.images * 255).round().byte()
        labels[start : start + block] = drawn.labels
    return pictures, labels


def coursenet(pictures: Tensor, labels: Tensor, passes: int, seed: int) -> nn.Module:
    """CourseNet, trained with batch normalisation that is folded into the convolutions afterwards.

    One-cycle AdamW. Without the normalisation a network of this shape does not begin to learn within minutes.
    """
    generator = torch.Generator().manual_seed(seed)
    network = _with_batch_norm(models.untrained("coursenet", seed)).to(memory_format=torch.channels_last).train()
    steps = passes * (len(labels) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.2)
    progress = tqdm(total=steps, desc="training", unit="step")
    for _ in range(passes):
        order = torch.randperm(len(labels), generator=generator)
        for rows in order[: len(labels) // BATCH * BATCH].split(BATCH):
            x = _pose(pictures[rows].float() / 255, int(torch.randint(8, (1,), generator=generator)))
            loss = F.cross_entropy(
                network(((x - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)), labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update()
            if progress.n % 100 == 0:
                progress.set_postfix(loss=f"{loss.item():.3f}")
    progress.close()
    return _fold_batch_norm(network)


def _pose(x: Tensor, pose: int) -> Tensor:
    """One of the eight ways to lay a square picture down: no shape changes its class by it."""
    x = x.rot90(pose % 4, (2, 3))
    return x.flip(3) if pose >= 4 else x


def _with_batch_norm(network: nn.Module) -> nn.Module:
    """Batch normalisation after each layer but the last, which also keeps units of fc6 and fc7 from dying."""
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.Conv2d):
            setattr(network, name, nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)))
        elif isinstance(layer, nn.Linear) and name != "fc8":
            setattr(network, name, nn.Sequential(layer, nn.BatchNorm1d(layer.out_features)))
    return network


def _fold_batch_norm(network: nn.Module) -> nn.Module:
    network.eval()
    for name, pair in list(network.named_children()):
        if isinstance(pair, nn.Sequential):
            layer, normalisation = pair
            fuse: Any = fuse_conv_bn_eval if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval
            setattr(network, name, fuse(layer, normalisation))
    return network


@torch.no_grad()
def accuracies(network: nn.Module, n: int = 5000) -> Tensor:
    """The share of each shape that is recognised, on n fresh scenes."""
    hits, counts = torch.zeros(10), torch.zeros(10)
    for index in range(-(-n // 500)):
        scenes = world.draw(500, seed=index)
        guesses = network((scenes.images - 0.5) / 0.25).argmax(1)
        hits += torch.bincount(scenes.labels[guesses == scenes.labels], minlength=10)
        counts += torch.bincount(scenes.labels, minlength=10)
    return hits / counts


def save(network: nn.Module, path: Path) -> None:
    """Write the weights, and their SHA-256 into SHA256SUMS beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    sums = path.parent / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.exists() else []
    lines = [line for line in lines if not re.search(rf"\s{re.escape(path.name)}$", line)]
    lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    sums.write_text("\n".join(sorted(lines, key=lambda line: line.split()[1])) + "\n")


if __name__ == "__main__":
    main()
