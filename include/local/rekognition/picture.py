"""The picture in a request: what the service refuses, how it is turned, and its colours and quality."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps

from rekognition.wire import AwsError, invalid_parameters

# https://docs.aws.amazon.com/rekognition/latest/dg/limits.html
MAX_BYTES = 15 * 1024**2
MIN_SIDE = 80
MAX_SIDE = 10_000

# Pillow's own guard is below what the service takes; the sides are checked here before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

_SIMPLE_COLOURS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")


def read(data: bytes, enough: int) -> Image.Image:
    """Decode a JPEG or PNG file as an upright RGB picture.

    :param data: The file.
    :param enough: Side in pixels below which a large JPEG need not be decoded in full.
    :raises AwsError: The service would refuse the file.
    """
    if len(data) > MAX_BYTES:
        raise too_large()
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        _check_sides(*image.size)
        is_jpeg = image.format != "PNG"
        image.draft("RGB", (enough, enough))
        image.load()
        if image.mode.startswith("I"):  # Pillow clips 16 bits instead of scaling them.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return (ImageOps.exif_transpose(image) if is_jpeg else image).convert("RGB")
    except AwsError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types for broken files.
        raise AwsError("InvalidImageFormatException", "Request has invalid image format") from error


def too_large() -> AwsError:
    """Make the refusal of a file over the limit."""
    return AwsError("ImageTooLargeException", "The input image size exceeds the allowed limit.")


def _check_sides(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise AwsError(
            "InvalidParameterException",
            f"Input image dimensions {width} x {height} exceed maximum dimension size of {MAX_SIDE} pixels",
        )
    if min(width, height) < MIN_SIDE:
        raise invalid_parameters()


def properties(image: Image.Image, max_colours: int) -> dict[str, Any]:
    """Measure ``ImageProperties``, without what is optional: foreground, background, colours of boxes.

    The service does not say how it measures; here brightness is the mean of the luminance, contrast its
    standard deviation, sharpness grows with the spread of its Laplacian, each from 0 to 100.
    """
    grey = np.asarray(image.convert("L").resize((256, 256)), dtype=np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = float((around - 4 * grey[1:-1, 1:-1]).std())
    quality = {
        "Brightness": float(grey.mean()) / 2.55,
        "Sharpness": 100 * laplacian / (laplacian + 16),
        "Contrast": min(100.0, float(grey.std()) / 1.275),
    }
    return {"Quality": quality, "DominantColors": dominant_colours(image, max_colours)}


def dominant_colours(image: Image.Image, count: int) -> list[dict[str, Any]]:
    """Find the ``count`` colours that stand for most of the picture, commonest first."""
    if count == 0:
        return []
    small = image.resize((64, 64), Image.Resampling.NEAREST)
    colours: Any = small.quantize(count).convert("RGB").getcolors(64 * 64)
    return [
        {
            "Red": colour[0],
            "Green": colour[1],
            "Blue": colour[2],
            "HexCode": "#{:02x}{:02x}{:02x}".format(*colour),
            "CSSColor": _nearest(colour, ImageColor.colormap),
            "SimplifiedColor": _nearest(colour, _SIMPLE_COLOURS),
            "PixelPercent": 100 * pixels / 64**2,
        }
        for pixels, colour in sorted(colours, reverse=True)
    ]


def _nearest(colour: tuple[int, ...], names: Iterable[str]) -> str:
    def distance(name: str) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, ImageColor.getrgb(name), strict=True))

    return min(names, key=distance)
