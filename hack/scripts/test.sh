#!/usr/bin/env bash
# Every test: those without a cluster on all cores, then those on a real API server. The last line is pytest's.
set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=hack
mkdir -p build/test

.venv/bin/python -m pytest -q -n "$(nproc)" tests/unit "$@"
unit=$?
if [ "$unit" -ne 0 ] && [ "$unit" -ne 5 ]; then
  echo "The unit tests failed; the cluster tests were not run." >&2
  exit "$unit"
fi
.venv/bin/python -m controlplane build >/dev/null || exit 1
.venv/bin/python -m pytest -q tests/cluster "$@"
