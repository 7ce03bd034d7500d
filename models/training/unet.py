"""The HIDEF network family: a plain U-Net whose finest level has half the resolution.

A strided stem instead of full-resolution convolutions saves most of the multiply-accumulates; plain ReLU, strided and
transposed convolutions all have fast int8 kernels. No normalisation layers: nothing to fold, nothing that depends on
the tile.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = ["build_unet", "macs_per_pixel"]


def build_unet(widths: tuple[int, ...], bottleneck: int = 3, tile_px: int | None = None) -> Any:
    """A Keras model float32 [n, h, w, 2] -> float32 [n, h, w, 2]; h and w divisible by 2 ** len(widths)."""
    from keras import Model, layers

    def convolutions(x: Any, width: int, count: int) -> Any:
        for _ in range(count):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        return x

    inputs = layers.Input((tile_px, tile_px, 2), name="field")
    x = layers.Conv2D(widths[0], 4, strides=2, padding="same", activation="relu", kernel_initializer="he_normal")(inputs)
    skips = []
    for width, deeper in pairwise(widths):
        x = convolutions(x, width, 2)
        skips.append(x)
        x = layers.Conv2D(deeper, 2, strides=2, activation="relu", kernel_initializer="he_normal")(x)
    x = convolutions(x, widths[-1], bottleneck)
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = convolutions(layers.Concatenate()([x, skip]), width, 2)
    outputs = layers.Conv2DTranspose(2, 4, strides=2, padding="same", dtype="float32", name="object")(x)
    return Model(inputs, outputs, name="hidef")


def macs_per_pixel(model: Any, tile_px: int = 256) -> float:
    """Multiply-accumulates per input pixel of the convolutions, from the layers' own shapes."""
    import keras

    total = 0.0
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            continue
        kernel = layer.kernel.shape
        scale = _scale(layer, model, tile_px)
        total += float(kernel[0] * kernel[1] * kernel[2] * kernel[3]) * scale
    return total


def _scale(layer: Any, model: Any, tile_px: int) -> float:
    """Applications of the kernel per input pixel: output positions, or input positions of a transposed convolution."""
    import keras

    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    shape = layer.input.shape if transposed else layer.output.shape
    if shape[1] is None:
        shaped = keras.models.clone_model(model, input_tensors=keras.Input((tile_px, tile_px, 2)))
        twin = shaped.get_layer(layer.name)
        shape = twin.input.shape if transposed else twin.output.shape
    return shape[1] * shape[2] / tile_px**2
