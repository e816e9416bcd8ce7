#!/usr/bin/env bash
# Every test: those without a cluster on all cores, those on a real API server, those on real pods where the machine lets
# them. The last line is pytest's.
set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=hack
mkdir -p build/test

.venv/bin/python -m pytest -q -n "$(nproc)" --dist loadfile tests/unit "$@"
unit=$?
if [ "$unit" -ne 0 ] && [ "$unit" -ne 5 ]; then
  echo "The unit tests failed; the cluster tests were not run." >&2
  exit "$unit"
fi
.venv/bin/python -m controlplane build >/dev/null || exit 1
.venv/bin/python -m pytest -q tests/cluster "$@"
cluster=$?
if [ "$cluster" -ne 0 ] && [ "$cluster" -ne 5 ]; then
  echo "The cluster tests failed; the tests on real pods were not run." >&2
  exit "$cluster"
fi
if ! why=$(.venv/bin/python -m node check 2>&1); then
  echo "The tests on real pods (tests/node) were left out: $why"
  exit 0
fi
.venv/bin/python -m node prepare >/dev/null || exit 1
.venv/bin/python -m pytest -q tests/node "$@"
node=$?
[ "$node" -eq 5 ] || exit "$node"
