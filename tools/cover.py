"""Draws the README's image, book/images/readme.png: python -m tools.cover (needs the ImageNet SqueezeNet)."""

import torch
from torch import Tensor

from course_lib import attribution, data, models, plotting, recipes, world
from course_lib.energy import total_variation
from project.repository import ROOT


def photograph_row() -> Tensor:
    net = models.load("squeezenet1_0")
    cat = data.photograph("chelsea")
    guided = attribution.gradient(net, cat, net.index("Egyptian cat"), "guided")
    wanted = torch.tensor([net.index(name) for name in ("flamingo", "goldfish")])
    dreams = recipes.maximize_activation(net, "classifier.1", wanted, regularizer=0.02 * total_variation()).image
    return torch.cat([cat, plotting.gradient_picture(guided), dreams])


def drawn_row() -> Tensor:
    net = models.load("coursenet")
    scene = world.draw(8, seed=21, size=96)
    x, label = scene.images[5:6], int(scene.labels[5])
    heat = plotting.heat(attribution.saliency(net, x, label))
    dream = recipes.maximize_activation(net, "fc8", label, regularizer=0.03 * total_variation()).image
    return torch.cat([x, scene.masks[5:6].float().expand(-1, 3, -1, -1), heat, dream])


if __name__ == "__main__":
    plotting.pictures([photograph_row(), drawn_row()], width=8).save(str(ROOT / "book" / "images" / "readme.png"))
