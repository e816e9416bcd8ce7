"""Builds both images twice, from nothing, in different surroundings, while other tests wait for their pods."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from controlplane.build import cache_dir
from images.description import SOURCES

ROOT = Path(__file__).resolve().parents[2]
STRANGE = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}


def begin(one: Path, other: Path) -> tuple[ThreadPoolExecutor, list[Future[Path]]]:
    """Two builds, one after the other, at the lowest priority; each gives the folder of its images."""
    _copy_checkout(one)
    shutil.copytree(one / "checkout", other / "checkout")
    pool = ThreadPoolExecutor(1, thread_name_prefix="images")
    return pool, [pool.submit(_build, one, 0o022, {}), pool.submit(_build, other, 0o077, STRANGE)]


def _copy_checkout(place: Path) -> None:
    """What decides the images, as it is now: the checkout may change while the builds run."""
    for name in (*SOURCES, "constraints.txt", "hack"):
        source, target = ROOT / name, place / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


def _build(place: Path, umask: int, surroundings: Mapping[str, str]) -> Path:
    """With work and layers of its own. Downloaded packages are shared."""
    checkout, cache = place / "checkout", place / "cache"
    downloads = cache_dir() / "images" / "downloads"
    if downloads.is_dir():
        shutil.copytree(downloads, cache / "images" / "downloads")
    environment = {**os.environ, "PYTHONPATH": str(checkout / "hack"), "MLPRIVACY_CACHE": str(cache), **surroundings}
    argv = ["nice", "-n", "19", sys.executable, "-m", "images", "build", "--output", str(place / "output")]
    done = subprocess.run(argv, cwd=checkout, env=environment, umask=umask, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The images could not be built in {place}:\n{done.stderr}")
    return place / "output"
