#!/usr/bin/env bash
# Makes .venv with the project and its test tools. Done once per change of pyproject.toml or constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '%s\n' "$*" >&2; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  say "Python 3.11 or later is needed and was not found. Install it, or name it: make setup PYTHON=/path/to/python3"
  exit 1
}

python=$(find_python)
want=$({ "$python" --version; cat pyproject.toml constraints.txt; } | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.made-from 2>/dev/null || true)" = "$want" ] && .venv/bin/python -c 'import mlprivacy' 2>/dev/null; then
  exit 0
fi
if [ ! -w . ] || { [ -e .venv ] && [ ! -w .venv ]; }; then
  say "This user ($(id -un)) may not write to $PWD, which belongs to $(stat -c %U .). Run make as that user, or in a copy of your own."
  exit 1
fi
say "Setting up .venv ($("$python" --version)); this takes about a minute the first time."
# An environment of the same Python is kept and brought up to date; any other is made anew.
if [ "$(.venv/bin/python --version 2>/dev/null || true)" != "$("$python" --version)" ] &&
  ! "$python" -m venv --clear .venv 2>/dev/null; then
  say "Python can not make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"
  exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off \
  -c constraints.txt -e '.[test,bench]' >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  say "Installing the Python packages failed; the lines above say why. Is the package index reachable?"
  exit 1
fi
printf '%s' "$want" >.venv/.made-from
say "Ready: .venv/bin/mlprivacy"
