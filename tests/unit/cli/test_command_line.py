"""The command line as people and shells meet it: real processes, start-up, errors, completion, the plug-in's name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlprivacy import __version__
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Subject, event_id
from mlprivacy.cli.main import COMMANDS, cli, program_name
from mlprivacy.policy.rules import all_rules

HEAVY = ("kopf", "kubernetes", "aiohttp", "pydantic", "yaml", "cryptography", "mlprivacy.policy", "mlprivacy.kube")


def mlprivacy(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["completion", "bash"]])
def test_a_small_command_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from mlprivacy.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: code = end.code\n"
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "sys.exit(f'loaded {loaded}, code {code}' if loaded or code else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {name}")


def test_help_lists_every_command() -> None:
    output = mlprivacy("--help").stdout
    assert all(name in output for name in COMMANDS)


def test_the_version_is_told_in_text_and_json() -> None:
    assert mlprivacy("version").stdout.startswith(f"mlprivacy {__version__} ")
    assert json.loads(mlprivacy("version", "-o", "json").stdout)["version"] == __version__


def test_kubectl_runs_it_as_a_plug_in_under_that_name() -> None:
    assert program_name("/usr/local/bin/kubectl-mlprivacy") == "kubectl mlprivacy"
    assert program_name("mlprivacy") == "mlprivacy"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["check"], "Missing argument"),
        (["check", "--nonsense", "x"], "No such option"),
        (["explain"], "Name a job as KIND/NAME"),
        (["explain", "no-such-rule"], "There is no rule 'no-such-rule'"),
        (["explain", "purpose-limitatio"], "Did you mean purpose-limitation?"),
        (["explain", "pod/x"], "'pod' is no kind of job"),
        (["explain", "trainingjob/x", "--kubeconfig", "/nonexistent/config"], "does not exist"),
        (["explain", "trainingjob/x"], "No cluster"),
        (["doctor", "--only", "nothing"], "There is no check nothing"),
        (["doctor", "--kubeconfig", "/nonexistent/config"], "does not exist"),
        (["strip-finalizers", "--kubeconfig", "/nonexistent/config"], "does not exist"),
        (["verify", "/nonexistent"], "does not exist"),
        (["controller", "--dataplane-image", "x", "--health", "here"], "is not HOST:PORT"),
        (["controller", "--dataplane-image", "x", "--canary", "1:2"], "must be IP:TCPPORT:UDPPORT"),
        (["controller", "--dataplane-image", "x", "--sidecar-stop-after", "59"], "59 is less than the 60"),
        (["controller", "--dataplane-image", "x", "--sidecar-silent-after", "86401"], "not in the range"),
        (["controller"], "Missing option '--dataplane-image'"),
        (["collector"], "Missing option '--data'"),
        (["admission", "--kubeconfig", "/nonexistent/config"], "does not exist"),
    ],
)
def test_an_error_is_a_sentence_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = mlprivacy(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = mlprivacy("--debug", "explain", "no-such-rule")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_flags_of_processes_are_also_environment_variables() -> None:
    done = mlprivacy("controller", MLPRIVACY_DATAPLANE_IMAGE="x", MLPRIVACY_HEALTH="nowhere")
    assert "MLPRIVACY_HEALTH" in done.stderr
    assert "is not HOST:PORT" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(shell: str) -> None:
    output = mlprivacy("completion", shell).stdout
    assert "_MLPRIVACY_COMPLETE" in output


def test_the_shell_is_offered_our_commands() -> None:
    done = mlprivacy(_MLPRIVACY_COMPLETE="bash_complete", COMP_WORDS="mlprivacy ve", COMP_CWORD="1")
    assert {line.split(",")[1] for line in done.stdout.splitlines()} == {"verify", "version"}


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: [\n", encoding="utf-8")
    assert "\x1b" not in mlprivacy("check", str(file)).stdout
    runner = CliRunner()
    assert "\x1b" in runner.invoke(cli, ["check", str(file)], color=True).output
    assert "\x1b" not in runner.invoke(cli, ["check", str(file)], color=True, env={"NO_COLOR": "1"}).output


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    examples = Path(__file__).parents[3] / "examples"
    command = f"{sys.executable} -m mlprivacy.cli.main check {examples} | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


# --- explain ---------------------------------------------------------------------------------------------------------


def test_every_rule_is_documented() -> None:
    table = CliRunner().invoke(cli, ["explain", "--rules"]).output
    for rule in all_rules():
        assert rule.id in table
        page = " ".join(CliRunner().invoke(cli, ["explain", rule.id]).output.split())
        assert rule.reason in page
        assert rule.remedy in page
        assert all(citation in page for citation in rule.citations)
        assert all(f"{rule.id}.{parameter.name}" in page for parameter in rule.parameters)


def test_rules_are_documented_for_programs() -> None:
    body = json.loads(CliRunner().invoke(cli, ["explain", "--rules", "-o", "json"]).output)
    assert {rule["id"] for rule in body} == {rule.id for rule in all_rules()}
    (dp,) = (rule for rule in body if rule["id"] == "special-category")
    assert dp["parameters"][0]["name"] == "special-category.minimumAssurance"


def test_a_job_in_files_is_explained_offline() -> None:
    clinic = str(Path(__file__).parents[3] / "examples" / "clinic")
    result = CliRunner().invoke(cli, ["explain", "genome-risk", "-f", clinic])
    assert result.exit_code == 0  # explains, does not judge
    output = " ".join(result.output.split())
    for words in (
        "REFUSED TrainingJob clinic/genome-risk",
        "achieved Declared, required Gated",
        "not in force: accountant",
        "DataClass genome",
        "egress Sealed",
        "PrivacyPolicy all of them",
    ):
        assert words in output
    body = json.loads(CliRunner().invoke(cli, ["explain", "genome-risk", "-f", clinic, "-o", "json"]).output)
    assert body["verdict"] == "Deny"
    assert "Dataset clinic/genomes" in body["restsOn"]


def test_a_job_that_is_not_in_the_files_can_not_be_explained() -> None:
    clinic = str(Path(__file__).parents[3] / "examples" / "clinic")
    result = CliRunner().invoke(cli, ["explain", "none", "-f", clinic])
    assert result.exit_code == 2
    assert "There is no job none" in result.output


# --- verify ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def audit_log(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    log = AuditLog(folder)
    subject = Subject("TrainingJob", "lab", "job", "u-1")
    for number in range(3):
        event = Event("2027-01-01T00:00:00Z", event_id("decision", str(number)), "decision", subject, {"n": number})
        log.submit("controller", [event]).result()
    log.close()
    return folder


def test_a_good_log_is_verified(audit_log: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(audit_log)])
    assert result.exit_code == 0, result.output
    assert "controller: good up to record" in result.output


def test_a_changed_record_is_named(audit_log: Path) -> None:
    (segment,) = (p for p in audit_log.rglob("*.jsonl"))
    lines = segment.read_bytes().splitlines(keepends=True)
    (index,) = (i for i, line in enumerate(lines) if b'"n":1' in line)
    lines[index] = lines[index].replace(b'"n":1', b'"n":7')
    segment.write_bytes(b"".join(lines))
    result = CliRunner().invoke(cli, ["verify", str(audit_log), "-o", "json"])
    assert result.exit_code == 1
    (problem,) = json.loads(result.output)["problems"]
    assert (problem["writer"], problem["line"], problem["wrong"]) == ("controller", index + 1, "hash mismatch")


def test_a_log_that_was_cut_off_is_found_by_its_anchor(audit_log: Path) -> None:
    head = json.loads(CliRunner().invoke(cli, ["verify", str(audit_log), "-o", "json"]).output)["heads"][0]
    anchor = f"controller={head['seq']}:{head['hash']}"
    assert CliRunner().invoke(cli, ["verify", str(audit_log), "--anchor", anchor]).exit_code == 0
    (segment,) = (p for p in audit_log.rglob("*.jsonl"))
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    result = CliRunner().invoke(cli, ["verify", str(audit_log), "--anchor", anchor])
    assert result.exit_code == 1
    assert "truncated" in result.output
    assert CliRunner().invoke(cli, ["verify", str(audit_log), "--anchor", "nonsense"]).exit_code == 2


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_well_when_it_is_asked_to(number: signal.Signals) -> None:
    script = (
        "import asyncio, sys\n"
        "from mlprivacy.cli.processes import Logging, run\n"
        "async def main(stop):\n"
        "    print('up', flush=True)\n"
        "    await stop.wait()\n"
        "    print('down', flush=True)\n"
        "run(main, Logging())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "down\n"
        assert process.wait(timeout=30) == 0


def test_a_process_that_can_not_go_on_asks_to_be_started_again() -> None:
    script = (
        "from mlprivacy.cli import main, processes\n"
        "async def work(stop):\n"
        "    raise OSError('the port is taken')\n"
        "start = lambda: processes.run(work, processes.Logging())\n"
        "main.cli.add_command(main.click.Command('x', callback=start), 'x')\n"
        "main.COMMANDS['x'] = ('x', '')\n"
        "main.LazyGroup.get_command = lambda self, ctx, name: main.click.Group.get_command(self, ctx, name)\n"
        "main.main(['x'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "Error: The port is taken.\n")


def test_a_cluster_that_does_not_answer_is_said(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n",
        encoding="utf-8",
    )
    done = mlprivacy("doctor", "--kubeconfig", str(config))
    assert done.returncode == 2
    assert "The API server does not answer" in done.stderr
