"""Writes the Dockerfile from the description, and lays an image out as a folder for its last stage."""

import json
import tarfile
from pathlib import Path
from typing import Final

from images import oci
from images.build import ensure_images
from images.description import HERE, SOURCES, Description, ImageSpec
from images.errors import ImagesError

DOCKERFILE: Final = HERE / "Dockerfile"
# What the builder itself runs with. The packages of the images come from images.toml.
_TOOLS: Final = ("ca-certificates", "python3", "python3-cryptography", "python3-pip", "python3-yaml")
_HEAD: Final = """\
# The two images, for people who build with a container engine. Made from images.toml; do not edit:
#   PYTHONPATH=hack python -m images dockerfile > hack/images/Dockerfile
# Build them from the root of the checkout:
{commands}
# The first stage runs the builder that `make images` runs, so both ways put the same files into the images.
"""


def text_of(description: Description) -> str:
    """The Dockerfile: one stage that runs the builder, and one per image that holds nothing but its files."""
    commands = "\n".join(
        f"#   docker build -f hack/images/Dockerfile --target {image.name} -t REPOSITORY/{image.name} ."
        for image in description.images
    )
    stages = [_build_stage(description), *(_stage(description, image) for image in description.images)]
    return _HEAD.format(commands=commands) + "\n".join(stages)


def rootfs(output: Path) -> list[Path]:
    """Both images as folders below `output`, named like the images. Raises ImagesError."""
    built = ensure_images()
    folders = []
    for image in built:
        folder = output / image.name
        if folder.exists() and any(folder.iterdir()):
            raise ImagesError(f"{folder} is not empty, and files in it would end up in the image. Name another folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            oci.extract(image.archive, folder)
        except (OSError, tarfile.TarError) as error:
            raise ImagesError(f"{image.name} can not be laid out in {folder}: {error}. Name another folder.") from error
        folders.append(folder)
    return folders


def _build_stage(description: Description) -> str:
    files = " ".join(name for name in (*SOURCES, "constraints.txt") if name != "operator")
    return f"""\
FROM debian:{description.debian.suite}-slim AS build
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends {" ".join(_TOOLS)}
WORKDIR /checkout
COPY {files} ./
COPY operator operator
COPY hack hack
RUN PYTHONPATH=hack python3 -m images rootfs /images
"""


def _stage(description: Description, image: ImageSpec) -> str:
    # The version is left out: it would make the Dockerfile old with every release. The wheel in the image has it.
    labels = {key: value for key, value in oci.labels(description, image).items() if not key.endswith(".version")}
    lines = [f"FROM scratch AS {image.name}", f"COPY --from=build /images/{image.name}/ /"]
    lines += [f"ENV {key}={_quoted(value)}" for key, value in description.environment.items()]
    lines += [f"LABEL {key}={_quoted(value)}" for key, value in labels.items()]
    lines += [f"USER {image.user.uid}:{image.user.gid}", "WORKDIR /"]
    lines += [f"ENTRYPOINT {json.dumps(list(image.entrypoint))}"]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """A value as the Dockerfile takes it word for word: $ and \\ would be replaced."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")
