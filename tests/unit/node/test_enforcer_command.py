"""What the enforcer says when it can not work here: a sentence with the remedy, and exit code 2."""

from pathlib import Path

import pytest

from node.enforcer import nft
from node.enforcer.__main__ import main
from node.enforcer.nft import Nft, NftError


def fake_nft(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An `nft` that does this instead."""
    command = folder / "nft"
    command.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def arguments(folder: Path) -> list[str]:
    return ["--kubeconfig", str(folder / "kubeconfig"), "--ready-file", str(folder / "ready")]


def test_without_nft_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nft.shutil, "which", lambda *_args, **_more: None)
    assert main(arguments(tmp_path)) == 2
    assert "install it (Debian: apt-get install nftables)" in capsys.readouterr().err
    assert not (tmp_path / "ready").exists()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("netlink: Error: cache initialization failed: Operation not permitted", "run the enforcer as root"),
        ("Error: Could not process rule: No such file or directory", "the kernel may lack a part of nftables"),
    ],
)
async def test_a_refusal_of_the_kernel_comes_with_its_likely_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, remedy: str
) -> None:
    fake_nft(tmp_path, monkeypatch, f"echo '{error}' >&2; exit 1")
    with pytest.raises(NftError, match=f"{error}; {remedy}"):
        await Nft().check()


def test_a_kubeconfig_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nft(tmp_path, monkeypatch, "cat > /dev/null")
    assert main(arguments(tmp_path)) == 2
    assert f"kubeconfig {tmp_path / 'kubeconfig'} does not exist" in capsys.readouterr().err


async def test_a_ruleset_goes_to_nft_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nft(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/given')
    await Nft().load("table inet x {}\n")
    assert (tmp_path / "arguments").read_text(encoding="utf-8") == "-f -\n"
    assert (tmp_path / "given").read_text(encoding="utf-8") == "table inet x {}\n"
