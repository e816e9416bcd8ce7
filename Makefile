# What people type. Each target sets up what it needs.
SHELL := /bin/bash
PY := .venv/bin/python
DIR ?= build/dev
NODE_DIR ?= build/node
export PYTHONPATH := hack
.DEFAULT_GOAL := help

.PHONY: help setup binaries images demo test test-unit test-cluster test-node test-chaos dev-up dev-down dev-status \
  node-up node-install node-down node-status kind-up lint format generate bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

setup: ## make .venv (then .venv/bin/mlprivacy works)
	@hack/scripts/setup.sh

binaries: setup ## build the control plane under test (Go; 5 to 12 minutes once, then cached)
	@$(PY) -m controlplane build >/dev/null

demo: binaries ## run the examples on a real API server and show what became of them (SHOW=NAME prints its objects)
	@$(PY) -m devstack demo $(if $(SHOW),--show $(SHOW)) $(if $(KEEP),--keep)

test: setup ## all tests: unit, then on a real API server
	@hack/scripts/test.sh

test-unit: setup ## the tests that need no cluster
	@$(PY) -m pytest -q -n 2 --dist loadfile tests/unit

test-cluster: binaries ## the tests on a real API server
	@$(PY) -m pytest -q tests/cluster

test-node: setup ## the tests on real pods (root; on the node of node-up, or USE_EXISTING_CLUSTER=true)
	@$(PY) -m node prepare >/dev/null && $(PY) -m pytest -q tests/node

test-chaos: setup ## kill and freeze processes of a node of its own under load (root; CHAOS_SECONDS=120)
	@$(PY) -m node prepare >/dev/null && $(PY) -m pytest -q -s tests/chaos

images: setup ## build the two container images, without an engine or a registry
	@$(PY) -m images build

node-up: setup ## start a cluster of one node with real pods (root), print its KUBECONFIG and PATH
	@$(PY) -m node up --dir "$(NODE_DIR)"

node-install: setup ## build the images and install the operator on the node of node-up, or upgrade it (root)
	@$(PY) -m node install --dir "$(NODE_DIR)"

node-down: setup ## stop exactly what node-up started (root)
	@$(PY) -m node down --dir "$(NODE_DIR)"

node-status: setup ## say what runs
	@$(PY) -m node status --dir "$(NODE_DIR)"

kind-up: setup ## build the images, make a kind cluster, install the chart (needs kind, docker and helm)
	@$(PY) -m images.kind

dev-up: binaries ## start a control plane and the operator, leave them running
	@$(PY) -m devstack up --dir $(DIR)

dev-down: setup ## stop exactly what dev-up started
	@$(PY) -m devstack down --dir $(DIR)

dev-status: setup ## say what runs
	@$(PY) -m devstack status --dir $(DIR)

lint: setup ## ruff, mypy strict, import contracts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-cache

format: setup ## format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .

generate: setup ## everything that is made from the code: CRDs, their copy in the chart, the reference
	@$(PY) -m mlprivacy.api.schema --output crds
	@$(PY) hack/sync_chart_crds.py
	@$(PY) -m docsgen
	@mkdir -p build && $(PY) -m images dockerfile > build/Dockerfile.new && mv build/Dockerfile.new hack/images/Dockerfile

bench: binaries ## the targets, measured; results under build/bench
	@$(PY) tests/bench/run.py

clean: dev-down node-down ## remove build and .venv (the cache of binaries stays)
	@rm -rf build .venv
