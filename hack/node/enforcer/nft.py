"""Run `nft`: load a text in one transaction, ask whether the enforcer's table is there. Failures are sentences."""

import asyncio
import shutil
from typing import Final

from node.enforcer.model import Ruleset
from node.enforcer.render import REMOVE, TABLE, lay_out, replace

_SECONDS: Final = 30.0


class NftError(RuntimeError):
    """nft could not do what was asked; the message says why and what to do."""


def find_nft() -> str:
    """Where nft is. Raises NftError with the remedy when it is nowhere."""
    found = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if found is None:
        raise NftError("the command nft was not found; install it (Debian: apt-get install nftables)")
    return found


class Nft:
    """The nftables of the network namespace that this process is in."""

    def __init__(self) -> None:
        """Raises NftError when nft is not installed."""
        self._command = find_nft()

    async def load(self, text: str) -> None:
        """Load this text: all of it or, with NftError, nothing."""
        code, errors = await self._run("-f", "-", given=text)
        if code != 0:
            raise NftError(f"nft did not take the ruleset: {_explained(errors)}")

    async def check(self) -> None:
        """Raises NftError when this process or this kernel can not enforce; changes nothing."""
        code, errors = await self._run("--check", "-f", "-", given=replace(lay_out(Ruleset())))
        if code != 0:
            raise NftError(f"nft can not enforce here: {_explained(errors)}")

    async def remove(self) -> None:
        """Delete the enforcer's table if it is there."""
        await self.load(REMOVE)

    async def present(self) -> bool:
        """Whether the enforcer's table is there."""
        code, _ = await self._run("list", "chain", "inet", TABLE, "forward")
        return code == 0

    async def _run(self, *arguments: str, given: str = "") -> tuple[int, str]:
        try:
            # A session of its own: a terminal's Ctrl-C must not end it while it deletes the table.
            process = await asyncio.create_subprocess_exec(
                self._command,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise NftError(f"{self._command} can not be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(_SECONDS):
                _, errors = await process.communicate(given.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NftError(f"nft did not answer within {_SECONDS:.0f} s") from None
        return process.returncode or 0, errors.decode(errors="replace")


def _explained(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = lines[0] if lines else "it gave no reason"
    if "Operation not permitted" in errors or "you must be root" in errors:
        return f"{said}; run the enforcer as root (CAP_NET_ADMIN in the node's network namespace)"
    if "No such file or directory" in errors or "Operation not supported" in errors:
        return f"{said}; the kernel may lack a part of nftables (inet tables, ct, fib, reject_inet, interval sets)"
    return said
