"""Reads images.toml, and what it refers to in pyproject.toml, into checked values."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from images.errors import ImagesError

HERE: Final = Path(__file__).parent
CHECKOUT: Final = HERE.parent.parent
LICENSE: Final = "Apache-2.0"
PROJECT: Final = "mlprivacy"
# What goes into the wheel of mlprivacy, relative to the checkout.
SOURCES: Final = ("LICENSE", "README.md", "pyproject.toml", "operator")


@dataclass(frozen=True)
class User:
    """One line of /etc/passwd and of /etc/group."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Debian:
    """The base layer: which packages of which suite."""

    suite: str
    python: str
    packages: tuple[str, ...]
    pruned: tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class ImageSpec:
    """One image: its wheels as pip requirements, who runs it, and what it runs."""

    name: str
    description: str
    requirements: tuple[str, ...]
    user: User
    entrypoint: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """Everything that decides the content of the images, besides the state of the package archives."""

    epoch: int
    version: str
    debian: Debian
    tools: tuple[str, ...]
    users: tuple[User, ...]
    environment: Mapping[str, str]
    images: tuple[ImageSpec, ...]
    entry_points: Mapping[str, str]
    # Read once, so that an edit during a build can not give a layer another content than its key says.
    constraints: str = field(repr=False)
    sources: Mapping[str, bytes] = field(repr=False)

    @property
    def site_packages(self) -> str:
        """Where wheels go: the folder outside Debian's own that Debian's Python reads."""
        return f"usr/local/lib/python{self.debian.python}/dist-packages"

    def source_digest(self) -> str:
        """Changes with any file that the wheel of mlprivacy is built from."""
        return digest_of(*(part for item in sorted(self.sources.items()) for part in item))


def load(checkout: Path = CHECKOUT, description: Path = HERE / "images.toml") -> Description:
    """The description of the images. Raises ImagesError when it says something that can not be built."""
    document = _read_toml(description)
    project = _read_toml(checkout / "pyproject.toml")["project"]
    try:
        users = tuple(User(name, int(ids["uid"]), int(ids["gid"])) for name, ids in document["users"].items())
        debian = document["debian"]
        loaded = Description(
            epoch=int(document["epoch"]),
            version=str(project["version"]),
            debian=Debian(
                suite=str(debian["suite"]),
                python=str(debian["python"]),
                packages=_strings(debian["packages"], "debian.packages"),
                pruned=_strings(debian["pruned"], "debian.pruned"),
                left_out={str(name): str(why) for name, why in debian["left_out"].items()},
            ),
            tools=_strings(document["tools"]["requirements"], "tools.requirements"),
            users=users,
            environment={str(key): str(value) for key, value in document["environment"].items()},
            images=tuple(_image(name, entry, project, users) for name, entry in sorted(document["images"].items())),
            entry_points={str(name): str(target) for name, target in project["scripts"].items()},
            constraints=(checkout / "constraints.txt").read_text(encoding="utf-8"),
            sources=_read_sources(checkout),
        )
    except OSError as error:
        raise ImagesError(f"The checkout {checkout} can not be read: {error}. Is it complete?") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImagesError(
            f"{description} is not a description of images: {type(error).__name__}: {error}. Mend the file."
        ) from error
    _check(loaded, description)
    return loaded


def digest_of(*parts: str | bytes) -> str:
    """SHA-256 in hex over parts that can not run into each other."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        hasher.update(f"{len(raw)}:".encode() + raw)
    return hasher.hexdigest()


def code_digest(modules: Iterable[str]) -> str:
    """Changes with the code of these modules of this package."""
    return digest_of(*(part for name in modules for part in (name, (HERE / f"{name}.py").read_bytes())))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ImagesError(f"{path} can not be read: {error}. Mend the file.") from error


def _read_sources(checkout: Path) -> dict[str, bytes]:
    """Content of every file that goes into the wheel, by its path in the checkout."""
    read = {}
    for name in SOURCES:
        path = checkout / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            parts = file.relative_to(checkout).parts
            if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
                read["/".join(parts)] = file.read_bytes()
    return read


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"{where} must be a list of words")
    return tuple(value)


def _image(name: str, entry: Mapping[str, Any], project: Mapping[str, Any], users: Sequence[User]) -> ImageSpec:
    chosen = entry["wheels"]
    requirements = project["dependencies"] if chosen == "project" else project["optional-dependencies"][chosen]
    by_name = {user.name: user for user in users}
    return ImageSpec(
        name=name,
        description=str(entry["description"]),
        requirements=_strings(requirements, f"the wheels {chosen!r} of pyproject.toml"),
        user=by_name[entry["user"]],
        entrypoint=_strings(entry["entrypoint"], f"images.{name}.entrypoint"),
    )


def _check(loaded: Description, where: Path) -> None:
    """What a type can not say. Raises ImagesError."""
    for user in loaded.users:
        if user.uid < 1 or user.gid < 1:
            raise ImagesError(f"{where}: users.{user.name} is root. The images run without root: give it other ids.")
    for image in loaded.images:
        if image.entrypoint[:1] == () or image.entrypoint[0] not in loaded.entry_points:
            known = ", ".join(sorted(loaded.entry_points))
            raise ImagesError(
                f"{where}: images.{image.name}.entrypoint does not begin with a command of pyproject.toml ({known})."
            )
    python = f"python{loaded.debian.python}-minimal"
    if python not in loaded.debian.packages:
        raise ImagesError(f"{where}: debian.python is {loaded.debian.python}, so debian.packages must have {python}.")
    if not 0 < loaded.epoch < 2**33:
        raise ImagesError(f"{where}: epoch is not a number of seconds that an archive can hold.")
