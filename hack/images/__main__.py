"""Command line: build the images, show what was built, lay it out as folders, or write the Dockerfile."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.build import Progress, cache_dir
from images import dockerfile
from images.build import PREFIX, ensure_images, export, read_set, set_key, trim
from images.description import load
from images.errors import ImagesError
from images.report import report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build or find both images, and print what they are")
    build.add_argument("--output", type=Path, help="a folder to copy archives, SBOMs and images.json to")
    build.add_argument("--fresh", action="store_true", help="look at Debian's archive again, for security updates")
    build.add_argument("--trim", action="store_true", help="delete images and layers of other versions from the cache")
    show = commands.add_parser("show", help="say what the cache has for this checkout; exit code 1 when nothing")
    show.add_argument("-o", dest="form", choices=["text", "json"], default="text")
    commands.add_parser("dockerfile", help="print the Dockerfile that agrees with images.toml")
    rootfs = commands.add_parser("rootfs", help="lay the files of both images out below a folder")
    rootfs.add_argument("folder", type=Path)
    for command in (build, show):
        command.add_argument(
            "--repository",
            dest="prefix",
            default=PREFIX,
            metavar="PREFIX",
            help=f"what the names begin with ({PREFIX})",
        )
    return parser


def _build(arguments: argparse.Namespace) -> int:
    images = ensure_images(Progress(sys.stderr), prefix=arguments.prefix, fresh=arguments.fresh)
    if arguments.output:
        images = export(images, arguments.output)
    print(report(images))
    if arguments.trim:
        for name in trim():
            print(f"deleted {name}", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    root = cache_dir() / "images"
    key = set_key(load(), arguments.prefix)
    images = read_set(root, key)
    if images is None:
        print("images: this checkout's images are not built. Build them: python -m images build", file=sys.stderr)
        return 1
    if arguments.form == "json":
        print(json.dumps(json.loads((root / "sets" / f"{key}.json").read_text(encoding="utf-8")), indent=1))
    else:
        print(report(images))
    return 0


def _dockerfile(_: argparse.Namespace) -> int:
    print(dockerfile.text_of(load()), end="")
    return 0


def _rootfs(arguments: argparse.Namespace) -> int:
    for folder in dockerfile.rootfs(arguments.folder):
        print(folder)
    return 0


_COMMANDS = {"build": _build, "show": _show, "dockerfile": _dockerfile, "rootfs": _rootfs}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it worked, 1 when there is nothing to show, 2 when it could not be done."""
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except ImagesError as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("images: interrupted; what was built stays in the cache.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
