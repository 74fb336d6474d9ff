"""Sliders and pickers over the functions below; the only place that imports ipywidgets."""

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from html import escape
from zlib import crc32

import ipywidgets
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import data, plotting, world
from course_lib.embedding.codes import as_taken
from course_lib.energy import total_variation
from course_lib.errors import require, unknown
from course_lib.images import jitter
from course_lib.inputs import check_images, check_range, evaluation, tensor, unwrapped, whole
from course_lib.models import Network
from course_lib.patches import TopPatches, crops, gradients, top_patches
from course_lib.recipes import maximize_activation
from course_lib.taps import Taps, hooked, receptive_field

__all__ = ["Explorer", "Recorded", "explorer"]

SHOWN = (nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Linear)  # what one can look into
CAPTION = "font:inherit;color:inherit;font-size:.85em;line-height:1.3"  # readable in any theme
SIDE = 216  # pixels of an image on the screen
ROW = (
    ".unit{display:grid;grid-template-columns:repeat(6,1fr);gap:12px;margin:.5em 0;max-width:720px}"
    ".unit>*{grid-column:span 2}.unit>:nth-child(-n+2){grid-column:span 3}"
    "@media(max-width:576px){.unit>*{grid-column:span 3}.unit>:nth-child(-n+2){grid-column:span 6}"
    ".unit>:last-child{grid-column:span 4}}"
)
STEPS = 64  # of the ascent for one unit


def explorer(
    net: Network, images: data.Images | None = None, examples: Mapping[str, Tensor] | None = None
) -> "Explorer":
    """Look into a network: choose an image, a layer and a channel.

    Shows the channel's activation map, and that of the image among `images` that excites the channel most; its top
    patches, what excites it in them (guided backpropagation; the plain gradient where the network's activation
    functions are no ReLUs), an image synthesised for it, and the maps of all channels of the layer. A map is light
    where it reaches its channel's maximum over `images`, so a channel that is silent looks silent.

    Needs ipywidgets 7 or 8, in Jupyter, JupyterLab, VS Code or Colab. For a page without a kernel, see
    `Explorer.record`.

    Args:
        net: The network. Layers that do not run, such as auxiliary classifiers, are left out.
        images: What the top patches and each channel's maximum are taken from, anything that `top_patches` walks; by
            default 300 drawn scenes.
        examples: Name -> (1, 3, h, w) in [0, 1], for the list; by default drawn scenes and photographs.

    Raises:
        TypeError: A plain module; wrap it in `models.Network`.
        ValueError: A network without a layer to look into, examples that are no images.

    Source: The toolbox of Yosinski 2015. Deviation: one channel's figures and all maps of its layer, on demand.
    """
    return Explorer(net, images, examples)


class Explorer(ipywidgets.VBox):  # type: ignore[misc] # ipywidgets is untyped
    """What `explorer` shows. `record` gives a form of it that needs no kernel.

    Args:
        net: As in `explorer`.
        images: As in `explorer`.
        examples: As in `explorer`.

    Attributes:
        net: The network.
        images: What the top patches are chosen from.
        examples: Name -> image, those of the list and those that were uploaded.
        layers: Layer -> number of channels, in the order of the network.
        image: The list of images.
        upload: The button for an image of one's own.
        layer: The list of layers.
        channel: The number of the channel.
    """

    def __init__(self, net: Network, images: data.Images | None, examples: Mapping[str, Tensor] | None):
        network = unwrapped(net)
        if not isinstance(network, Network):
            raise TypeError(
                f"the explorer needs names, sizes and a range of values: wrap the {type(network).__name__} in "
                "models.Network"
            )
        self.net = net = network
        self.images = world.draw(300, seed=4, size=net.image_size).images if images is None else images
        self.examples = dict(_examples(net) if examples is None else examples)
        for example in self.examples.values():
            check_images(example)
        self.layers = _layers(net)
        self.tops: dict[str, TopPatches] = {}  # of the layers seen so far
        self.units: dict[tuple[str, int], list[str]] = {}  # the figures of the units seen so far

        self.image = ipywidgets.Dropdown(options=list(self.examples), description="image")
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=False, description="upload")
        self.layer = ipywidgets.Dropdown(
            options=list(self.layers), value=list(self.layers)[len(self.layers) // 2], description="layer"
        )
        self.channel = ipywidgets.BoundedIntText(value=0, min=0, description="channel")
        self.about, self.unit, self.all_channels = (ipywidgets.HTML() for _ in range(3))
        controls = ipywidgets.Box(
            [self.image, self.upload, self.layer, self.channel], layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        super().__init__([controls, self.about, self.unit, self.all_channels])
        self.show()
        for control in (self.image, self.layer, self.channel):
            control.observe(self.show, "value")
        self.upload.observe(self._uploaded, "value")

    def show(self, change: object = None) -> None:
        """Bring the figures up to date with what is chosen.

        Args:
            change: What a control reports; not needed.
        """
        layer = self.layer.value
        channels = self.layers[layer]
        if self.channel.max != channels - 1:  # sets the value too, where it is too large now
            self.channel.max = channels - 1
        channel = min(self.channel.value, channels - 1)
        self.about.value = self.describe(layer, channel)
        self.unit.value = _row(self.figures(layer, channel))
        self.all_channels.value = self._maps(layer)

    def describe(self, layer: str, channel: int) -> str:
        """One line of HTML about a unit: of which network, layer and channel, and how much it sees.

        Args:
            layer: One of `layers`.
            channel: Number of the channel.
        """
        field = receptive_field(self.net, layer)
        sees = "the whole image" if field.stride == 0 else f"{_pixels(field.size)} pixels, {field.stride} apart"
        return (
            f"<b>{escape(self.net.name)}, {escape(layer)}, channel {channel}</b> "
            f"of {self.layers[layer]}; each unit sees {sees}"
        )

    def figures(self, layer: str, channel: int) -> list[str]:
        """Figures of HTML: the chosen image and the channel's map of it, the same for the image that excites the
        channel most, top patches, what excites the channel there, and an image synthesised for it.

        Args:
            layer: One of `layers`.
            channel: Number of the channel.
        """
        return [self._response(layer, channel, self.image.value), *self._of_unit(layer, channel)]

    def record(self, units: Sequence[tuple[str, int, str]]) -> "Recorded":
        """These units as tabs that need no kernel, script or network.

        The map beside that of the most exciting image is the one of the example that leaves the channel most silent.

        Args:
            units: (layer, channel, what to say of it) each.

        Raises:
            ValueError: A layer or channel that is not there.
        """
        for layer, channel, _ in units:
            if layer not in self.layers:
                raise unknown("layer", layer, self.layers)
            check_range(whole(channel, "channel"), self.layers[layer], f"channel of layer {layer!r}")
        return Recorded([(f"{layer} · {c}", escape(says) + self._panel(layer, c)) for layer, c, says in units])

    def _panel(self, layer: str, channel: int) -> str:
        silent = min(self.examples, key=lambda name: float(self._output(layer, self.examples[name])[0, channel].max()))
        return _row([self._response(layer, channel, silent), *self._of_unit(layer, channel)])

    def _output(self, layer: str, x: Tensor) -> Tensor:
        """What the layer outputs for an image, in float32 on the CPU."""
        with torch.no_grad():
            output: Tensor = Taps(self.net, layer)(as_taken(self.net, x))[layer]
        return output.float().cpu()

    def _top(self, layer: str) -> TopPatches:
        """The top patches of a layer; the first value of each channel is its maximum over the collection."""
        if layer not in self.tops:
            self.tops[layer] = top_patches(self.net, layer, self.images, 9, progress=False)
        return self.tops[layer]

    def _response(self, layer: str, channel: int, name: str) -> str:
        """The figure of an example and of where the channel is active in it."""
        return self._active(layer, channel, self.examples[name], name)

    def _active(self, layer: str, channel: int, x: Tensor, name: str) -> str:
        a, most = self._output(layer, x)[:, channel], self._top(layer).values[channel, :1]
        x, level = x.cpu().float().clamp(0, 1), f"{float(a.max()):.3g} of {float(most):.3g}"
        if a.dim() == 1:
            return _figure(x, f"the image {name}", f"{name}: activation {level}", narrow=True)
        heat = F.interpolate(plotting.heat(a[:, None], largest=most), x.shape[2:])
        alt = f"the activation map of channel {channel} of {layer} for {name}, bright where it is active"
        both = torch.cat([x, torch.ones_like(x[..., :4]), heat], 3)
        return _figure(both, alt, f"{name}, and where the channel is active: at most {level}")

    def _of_unit(self, layer: str, channel: int) -> list[str]:
        """The figures that do not depend on the chosen image."""
        if (layer, channel) in self.units:
            return self.units[layer, channel]
        size, unit = self.net.image_size, f"channel {channel} of {layer}"
        best = data.pick(self.images, self._top(layer).index[channel, :1].tolist(), size)
        top = crops(self._top(layer), self.images, channel, size=size)
        excites = plotting.gradient_picture(self._gradients(layer, channel).float())
        preferred = plotting.sheet(self._preferred(layer, channel), 1, side=SIDE, gap=0)
        self.units[layer, channel] = [
            self._active(layer, channel, best, "the image that excites it most"),
            _figure(_nine(top), f"the nine patches that excite {unit} most", "top patches (grey: beyond the border)"),
            _figure(_nine(excites), f"what excites {unit} in its nine top patches", "what excites it there"),
            _figure(preferred, f"an image synthesised to excite {unit}", "synthesised for it"),
        ]
        return self.units[layer, channel]

    def _gradients(self, layer: str, channel: int) -> Tensor:
        """What excites a channel in its top patches."""
        of = partial(gradients, self.net, layer, self._top(layer), self.images, channel)
        try:
            return of("guided")
        except ValueError:  # no rule for its activation functions, or no ReLU before this layer
            return of("gradient")

    def _preferred(self, layer: str, channel: int) -> Tensor:
        """What one unit in the middle likes best, as far as it sees; a fully connected unit sees everything."""
        climb = partial(maximize_activation, self.net, layer, channel, steps=STEPS, progress=False)
        smooth = 0.01 * total_variation()
        positions = self._output(layer, next(iter(self.examples.values()))).shape[2:]
        if not positions:
            return climb(regularizer=smooth).image.cpu()
        at = positions[0] // 2, positions[1] // 2
        top, left, bottom, right = receptive_field(self.net, layer).box(*at)
        shift = jitter((bottom - top) // 12)  # a unit that sees little must not be moved by much
        image = climb(regularizer=smooth, at=at, transform=shift).image.cpu()
        return image[..., max(top, 0) : bottom, max(left, 0) : right]

    def _maps(self, layer: str) -> str:
        """The maps of all channels of a layer, each on its channel's scale."""
        a = self._output(layer, self.examples[self.image.value])[0]
        if a.dim() == 1:
            return ""
        maps = plotting.heat(a[:, None], largest=self._top(layer).values[:, 0])
        caption = f"all {len(a)} channels of {layer}, from channel 0 in the upper left, 16 a row"
        return (
            f'<div style="max-width:720px">{_figure(plotting.sheet(maps, 16, side=40, gap=3), caption, caption)}</div>'
        )

    def _uploaded(self, change: object) -> None:
        files = self.upload.value.values() if isinstance(self.upload.value, dict) else self.upload.value  # 7, 8
        for file in files:
            name = file.get("name") or file["metadata"]["name"]
            try:
                self.examples[name] = data.read(io.BytesIO(bytes(file["content"])), self.net.image_size)
            except ValueError:
                self.about.value = f"<b>{escape(name)} cannot be read as an image.</b>"
                continue
            self.image.options = list(self.examples)
            self.image.value = name


class Recorded:
    """Tabs of HTML and CSS alone, which need no kernel and no script.

    Args:
        panels: (title, content) each; the title is text, the content HTML.
        label: What they are, for those who cannot see them.

    Attributes:
        panels: As given.
        label: As given.

    Example:
        >>> Recorded([("conv1", "an edge"), ("conv2", "a corner")], label="layers")
        Recorded('layers')
    """

    # The buttons are there for keys and screen readers; what one sees and touches is their labels.
    STYLE = (
        ".recorded{display:flex;flex-wrap:wrap;gap:.4em}.recorded .panel{display:none;order:1;width:100%}"
        ".recorded input{position:absolute;opacity:0;width:1px}.recorded input:checked+label+.panel{display:block}"
        ".recorded label{padding:.2em .7em;border:1px solid #9aa5b1;border-radius:1em;cursor:pointer}"
        ".recorded label{white-space:nowrap}.recorded input:checked+label{background:#a8432d;color:#fff}"
        ".recorded input:focus-visible+label{outline:3px solid #2f6690;outline-offset:2px}"
    )

    def __init__(self, panels: Sequence[tuple[str, str]], label: str = "units"):
        self.panels, self.label = panels, label

    def __repr__(self) -> str:
        return f"Recorded({self.label!r})"  # no address, so that a notebook is the same in every run

    def _repr_html_(self) -> str:
        name = f"recorded-{crc32(repr(self.panels).encode())}"  # the same in every run
        tabs = [
            f'<input type="radio" name="{name}" id="{name}-{i}"{" checked" if i == 0 else ""}>'
            f'<label for="{name}-{i}">{escape(title)}</label><div class="panel">{content}</div>'
            for i, (title, content) in enumerate(self.panels)
        ]
        group = f'<div class="recorded" role="group" aria-label="{escape(self.label)}">{"".join(tabs)}</div>'
        return f"<style>{self.STYLE}</style>{group}"


def _figure(image: Tensor, alt: str, caption: str, *, narrow: bool = False) -> str:
    """As wide as its cell of `_row` is; what is narrow, half as wide."""
    width = "50%" if narrow else "100%"
    return (
        f'<figure style="margin:0;min-width:0"><img alt="{escape(alt)}" '
        f'src="{plotting.data_uri(image, quality=65)}" style="width:{width};display:block;image-rendering:auto">'
        f'<figcaption style="{CAPTION}">{escape(caption)}</figcaption></figure>'
    )


def _row(figures: Sequence[str]) -> str:
    """Two wide figures above three; below each other, the wide ones first, where there is no room."""
    return f'<style>{ROW}</style><div class="unit">{"".join(figures)}</div>'


def _nine(tiles: Tensor) -> Tensor:
    return plotting.sheet(tiles, 3, side=SIDE // 3, gap=3)


def _pixels(size: int | tuple[int, int]) -> str:
    return f"{size} x {size}" if isinstance(size, int) else f"{size[0]} x {size[1]}"


def _examples(net: Network) -> dict[str, Tensor]:
    scenes = world.draw(6, seed=21, size=net.image_size)
    drawn = {f"scene {i}: {world.SHAPES[scenes.labels[i]]}": scenes.images[i : i + 1] for i in range(len(scenes))}
    photographs = {name: data.photograph(name, net.image_size) for name in data.photographs()}
    return drawn | photographs if net.classes == world.SHAPES else photographs | drawn


def _layers(net: Network) -> dict[str, int]:
    """The layers that one can look into, with their numbers of channels, in the order of the network."""
    names = [name for name, module in net.named_modules() if name and isinstance(module, SHOWN)]
    x = as_taken(net, torch.zeros(1, 3, net.image_size, net.image_size))
    dims: dict[str, int] = {}  # of what has run

    def note(layer: str, output: object) -> None:
        dims[layer] = tensor(output, f"layer {layer!r}").dim()

    with evaluation(net), torch.no_grad(), ExitStack() as stack:
        for name in names:
            stack.enter_context(hooked(net, name, partial(note, name)))
        net(x)
    seen = [name for name in names if dims.get(name) in (2, 4)]  # rows and maps, not the tokens of a transformer
    require(bool(seen), f"{net.name} has no layer to look into: no convolution, ReLU, pooling or linear layer runs")
    with torch.no_grad():
        return {name: a.shape[1] for name, a in Taps(net, *seen)(x).items()}
