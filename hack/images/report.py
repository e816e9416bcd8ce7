"""Says in a table how large the images are and what takes the space."""

from collections.abc import Iterable
from typing import Final

from images.build import Image, Images

_TOP: Final = 6
# The operator's image beyond the base layer, compressed.
TARGET: Final = 150 * 2**20


def report(images: Images) -> str:
    """Both images: names, sizes, layers, largest parts. Sizes in MiB of 2**20 bytes."""
    lines = [line for image in images for line in (*_image(image), "")]
    beyond = sum(layer.compressed for layer in images.mlprivacy.layers[1:])
    verdict = "within" if beyond <= TARGET else "ABOVE"
    lines.append(
        f"The operator's layers beyond the base: {mib(beyond)} compressed, {verdict} the {mib(TARGET)} allowed."
    )
    dates = ", ".join(f"{suite} of {date}" for suite, date in sorted(images.debian.items()))
    lines.append(f"Debian packages: {dates}.")
    return "\n".join(lines)


def mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _image(image: Image) -> Iterable[str]:
    yield f"{image.name}  {image.reference}"
    yield f"  archive     {image.archive}"
    yield f"  also named  {image.tagged}"
    yield f"  size        {mib(image.compressed)} compressed, {mib(image.unpacked)} unpacked"
    for layer in image.layers:
        name = layer.name.removeprefix(f"{image.name}-")
        yield f"  layer {name:<6}{mib(layer.compressed):>9} compressed, {mib(layer.unpacked):>9} unpacked"
        largest = ", ".join(f"{part} {mib(size)}" for part, size in layer.parts[:_TOP])
        yield f"    {largest}"
