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

# Two streams, each with an operator and control planes of its own: tests end processes and stop API servers of theirs.
second=(tests/cluster/{cli,controller,e2e})
left_out=("${second[@]/#/--ignore=}")
log=build/test/cluster-2.log
echo "The cluster tests run in two streams; what the second prints (${second[*]}) follows at its end, and is in $log."
.venv/bin/python -m pytest -q "${second[@]}" "$@" >"$log" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null' EXIT
.venv/bin/python -m pytest -q tests/cluster "${left_out[@]}" "$@"
first=$?
wait "$other"
second=$?
trap - EXIT
cat "$log"
for cluster in "$first" "$second"; do
  if [ "$cluster" -ne 0 ] && [ "$cluster" -ne 5 ]; then
    echo "The cluster tests failed; the tests on real pods were not run." >&2
    exit "$cluster"
  fi
done
if ! why=$(.venv/bin/python -m node check 2>&1); then
  echo "The tests on real pods (tests/node) were left out: $why"
  exit 0
fi
.venv/bin/python -m node prepare >/dev/null || exit 1
.venv/bin/python -m pytest -q tests/node "$@"
node=$?
[ "$node" -eq 5 ] || exit "$node"
