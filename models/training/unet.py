"""The HIDEF network family: a plain U-Net whose finest level has half the resolution.

A strided stem instead of full-resolution convolutions saves most of the multiply-accumulates; plain ReLU, strided and
transposed convolutions all have fast int8 kernels. No normalisation layers: nothing to fold, nothing that depends on
the tile.

What ships has no transposed convolutions: one of stride 2 is a convolution with four times the outputs, rearranged two by two
(W. Shi et al. 2016, arXiv:1609.05158). That is the same arithmetic, but a TFLite transposed convolution carries the size of
its output, and so fixes the tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["UNet", "build_unet", "macs_per_pixel", "rearranged", "spread_kernel", "tap_place"]


@dataclass(frozen=True)
class UNet:
    """One network of the family (models.training.images.ImageNetworkShape)."""

    widths: tuple[int, ...]
    """Channels by level, the finest at half the resolution."""
    inputs: int = 2
    outputs: int = 2
    bottleneck: int = 3
    """Convolutions of the coarsest level."""

    @property
    def multiple_px(self) -> int:
        """Sides of a tile are multiples of this."""
        return 2 ** len(self.widths)

    def build(self) -> Any:
        """A Keras model float32 [n, h, w, inputs] -> float32 [n, h, w, outputs], to train."""
        return build_unet(self.widths, self.bottleneck, inputs=self.inputs, outputs=self.outputs)

    def for_export(self, trained: Any, tile_px: int) -> Any:
        """The same network as it ships, for one tile."""
        return rearranged(trained, self.widths, self.bottleneck, tile_px, inputs=self.inputs, outputs=self.outputs)


def build_unet(
    widths: tuple[int, ...], bottleneck: int = 3, tile_px: int | None = None, *, inputs: int = 2, outputs: int = 2,
    rearrange: bool = False,
) -> Any:  # fmt: skip
    """A Keras model float32 [n, h, w, inputs] -> float32 [n, h, w, outputs]; h and w divisible by 2 ** len(widths).

    `rearrange`: convolutions and depth-to-space (TensorFlow's) in place of transposed convolutions, for export.
    """
    from keras import Model, layers

    def convolutions(x: Any, width: int, count: int) -> Any:
        for _ in range(count):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        return x

    def doubled(x: Any, width: int, taps: int, **options: Any) -> Any:
        if not rearrange:
            return layers.Conv2DTranspose(width, taps, strides=2, padding="same", **options)(x)
        x = layers.Conv2D(4 * width, taps - 1, padding="same", **options)(x)
        return layers.Lambda(_two_by_two)(x)

    first = layers.Input((tile_px, tile_px, inputs), batch_size=1 if tile_px else None, name="field")
    x = layers.Conv2D(widths[0], 4, strides=2, padding="same", activation="relu", kernel_initializer="he_normal")(first)
    skips = []
    for width, deeper in pairwise(widths):
        x = convolutions(x, width, 2)
        skips.append(x)
        x = layers.Conv2D(deeper, 2, strides=2, activation="relu", kernel_initializer="he_normal")(x)
    x = convolutions(x, widths[-1], bottleneck)
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        x = doubled(x, width, 2)
        x = convolutions(layers.Concatenate()([x, skip]), width, 2)
    last = doubled(x, outputs, 4, dtype="float32", name="object")
    return Model(first, last, name="hidef")


def _two_by_two(x: Any) -> Any:
    import tensorflow as tf

    return tf.nn.depth_to_space(x, 2)


def rearranged(
    model: Any, widths: tuple[int, ...], bottleneck: int = 3, tile_px: int = 256, *, inputs: int = 2, outputs: int = 2
) -> Any:
    """The same network without transposed convolutions."""
    import keras
    import numpy as np

    twin = build_unet(widths, bottleneck, tile_px, inputs=inputs, outputs=outputs, rearrange=True)
    weights: list[NDArray[np.float32]] = []
    for layer in model.layers:
        values = [np.asarray(w) for w in layer.get_weights()]
        if isinstance(layer, keras.layers.Conv2DTranspose):
            values = [spread_kernel(values[0]), np.tile(values[1], 4)]
        weights += values
    twin.set_weights(weights)
    return twin


def spread_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The kernel [h, w, in, 4 out] of the convolution that a transposed one of stride 2, [height, width, out, in], is."""
    import numpy as np

    height, width, outputs, inputs = kernel.shape
    spread = np.zeros((height - 1, width - 1, inputs, 4 * outputs), np.float32)
    for y in range(height):
        for x in range(width):
            (row, tap_y), (column, tap_x) = tap_place(y, height), tap_place(x, width)
            first = (2 * row + column) * outputs
            spread[tap_y + (height - 1) // 2, tap_x + (width - 1) // 2, :, first : first + outputs] = kernel[y, x].T
    return spread


def tap_place(tap: int, taps: int) -> tuple[int, int]:
    """(which of the two output places, offset of the input place) of one tap of a transposed convolution of stride 2.

    Output 2 i + place sums the inputs i + offset. Two taps: each output place has one. Four, padded 'same': output o takes
    input i through tap o - 2 i + 1.
    """
    shifted = tap - (taps - 2) // 2
    place = shifted % 2
    return place, -((shifted - place) // 2)


def macs_per_pixel(model: Any, tile_px: int = 256) -> float:
    """Multiply-accumulates per input pixel of the convolutions, from the kernels and the resolution they act at."""
    import keras
    import numpy as np

    shapes = dict(zip((layer.name for layer in model.layers), _heights(model, tile_px), strict=True))
    total = 0.0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            before, after = shapes[layer.name]
            positions = before if isinstance(layer, keras.layers.Conv2DTranspose) else after
            total += float(np.prod(layer.kernel.shape)) * (positions / tile_px) ** 2
    return total


def _heights(model: Any, tile_px: int) -> list[tuple[int, int]]:
    """Height of every layer's input and output for a tile."""
    sizes: dict[str, int] = {}
    out: list[tuple[int, int]] = []
    for layer in model.layers:
        parents = [tensor._keras_history.operation.name for tensor in _inputs(layer)]  # noqa: SLF001
        before = sizes[parents[0]] if parents else tile_px
        known, made = (t.shape[1] for t in ((_inputs(layer) or [layer.output])[0], layer.output))
        ratio = made / known if made and known else _ratio(layer)
        sizes[layer.name] = round(before * ratio)
        out.append((before, sizes[layer.name]))
    return out


def _inputs(layer: Any) -> list[Any]:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _ratio(layer: Any) -> float:
    import keras

    if isinstance(layer, keras.layers.Conv2DTranspose):
        return float(layer.strides[0])
    return 1 / layer.strides[0] if isinstance(layer, keras.layers.Conv2D) else 1.0
