# `make demo` and `make test` do their own set-up. `make help` lists the rest.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help setup demo test check lint types imports pure tools system soak bench-webhook bench-agent clean
help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.synced ## everything locked into .venv (uv first)

.venv/.synced: pyproject.toml uv.lock scripts/setup.sh multus_eni/ipagent/build_model.py multus_eni/ipagent/cloud/client.py
	@scripts/setup.sh

demo: setup ## the user's story in one minute, without root, cluster or AWS account
	@$(PY) -m demo

check: setup lint types imports pure ## lint, types, import contracts, pure layer: within a minute

lint:
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types:
	@$(PY) -m mypy

imports:
	@.venv/bin/lint-imports

pure:
	@$(PY) -m pytest -q -m pure

system: ## system packages that the tests need: says what is missing, installs it where it may
	@scripts/system-packages.sh

tools: setup ## kube-apiserver, helm, promtool and the rest of the tests' programs: found, or built from the committed go.sum
	@$(PY) -m tests.cluster.tools

test: system setup lint types imports ## set-up, then lint, types and all tests
	@$(PY) -m tests.cluster.tools --optional
	@scripts/test.sh

other-python: ## the pure layer, the server and the agent with the Python of the images (3.13)
	@scripts/other-python.sh 3.13

soak: setup ## a million annotations, 500 lives of a certificate, 100,000 pods through the API server: hours
	@MULTUS_ENI_ORACLE_VALUES=1000000 MULTUS_ENI_DRY_RUNS=100000 MULTUS_ENI_CERTS_SIMULATIONS=500 $(PY) -m pytest -q \
	  tests/webhook/test_networks_oracle.py tests/certs/test_simulation.py tests/cluster/test_generated_pods.py

bench-webhook: setup ## the webhook's speed: per core, beside its peers, and through the API server
	@$(PY) -m benchmarks.webhook

bench-agent: setup ## what the agent costs: start, memory, rest, reaction to new addresses
	@$(PY) -m benchmarks.agent

clean: ## remove what set-up and tests have made here
	rm -rf .venv .venv-* .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
