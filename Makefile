# `make demo` and `make test` do their own set-up. `make help` lists the rest.
SHELL := /bin/bash
PY := .venv/bin/python
# make bench-... QUICK=1: at most three minutes, only a hint.
QUICKLY := $(if $(QUICK),--quick)

.PHONY: help setup demo test check lint types imports pure-agent pure-rest tools system test-tools test-arm64 test-aws docs coverage other-python properties soak bench-webhook bench-agent bench-cluster bench-fleet bench-controller base-image images push bundle scan test-images cluster cluster-down clean
help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.synced ## everything locked into .venv (uv first)

.venv/.synced: pyproject.toml uv.lock scripts/setup.sh ipagent/aws/trim_botocore.py ipagent/aws/botocore_session.py
	@scripts/setup.sh

demo: setup ## the user's story in one minute, without root, cluster or AWS account
	@$(PY) -m demo

# On two cores: the halves of the pure layer take about as long as each other.
check: setup ## lint, types, import contracts, pure layer without its simulations: within a minute
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint pure-agent pure-rest types imports

lint:
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types:
	@$(PY) -m tests.typecheck

imports:
	@.venv/bin/lint-imports

# What is marked no_cover searches schedules or counts the work of long inputs: `make test` runs it.
PURE := env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -q -p no:cacheprovider --hypothesis-profile=quick \
  -m "pure and (hypothesis or not no_cover)"

pure-agent:
	@$(PURE) tests/ipagent

pure-rest:
	@$(PURE) tests --ignore=tests/ipagent --ignore=tests/tools_tests

system: ## system packages that the tests need: says what is missing, installs it where it may
	@scripts/system-packages.sh

tools: setup ## kube-apiserver, helm, promtool and the rest of the tests' programs: found, or built from the committed go.sum
	@$(PY) -m tests.cluster.tools

test: system setup ## set-up, then lint, types and all tests of the product; ARGS=... are pytest's
	@$(PY) -m tests.runner $(ARGS)

test-tools: system setup ## the tests of the tests' own tools and of the benchmarks: nightly
	@$(PY) -m tests.cluster.tools --optional
	@$(PY) -m images cached --optional
	@$(PY) -m pytest -p no:cacheprovider --durations=15 tests/tools_tests

test-arm64: setup ## the programs of the arm64 images, emulated on this machine: nightly, root; ARGS=... are pytest's
	@scripts/system-packages.sh --arm64
	@$(PY) -m tests.cluster.tools --optional
	@$(PY) -m tests.arm64 $(ARGS)

docs: setup ## the pages as a site in dist/site, with every link checked
	@UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv-docs .venv/bin/uv sync --quiet --locked --only-group docs
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo 'docs: open dist/site/index.html, or serve it: python3 -m http.server --directory dist/site'

coverage: system setup ## branch coverage of all tests but those of images and nodes, all processes included: nightly
	@$(PY) -m tests.cluster.tools --optional
	@rm -rf .coverage-all && mkdir .coverage-all
	@COVERAGE_FILE=$$PWD/.coverage-all/data COVERAGE_PROCESS_START=$$PWD/pyproject.toml $(PY) -m pytest -q \
	  -p no:cacheprovider -p pytest_cov --cov --cov-report= tests --ignore=tests/cluster/nodes --ignore=tests/images --ignore=tests/tools_tests \
	  --ignore=tests/arm64
	@COVERAGE_FILE=$$PWD/.coverage-all/data $(PY) -m coverage report --skip-covered --skip-empty

test-aws: setup ## real EC2 refuses calls, its words beside the double's: MULTUS_ENI_AWS_SUBNET=subnet-... (docs/testing.md)
	@$(PY) -m tests.aws dist/ec2-refusals.json

other-python: ## the pure layer, the server and the agent with the Python of the images (3.13)
	@scripts/other-python.sh 3.13

properties: setup ## the property tests of the pure layer with two hundred times the examples: nightly
	@$(PY) -m pytest -q -p no:cacheprovider --hypothesis-profile=soak -m "pure and hypothesis" tests

soak: properties ## waits under attack beside waits without, a million annotations, 100,000 pods through the API server, and more: hours
	@$(PY) -m tests.under_attack
	@MULTUS_ENI_ORACLE_VALUES=1000000 MULTUS_ENI_DRY_RUNS=100000 MULTUS_ENI_CERTS_SIMULATIONS=500 \
	  MULTUS_ENI_ROTATION_CREATES=10000 MULTUS_ENI_FUZZ=20000 \
	  MULTUS_ENI_NETWORK_SCHEDULES=200 MULTUS_ENI_PROXY_ROUNDS=20 MULTUS_ENI_PREFIX_PODS=80 \
	  MULTUS_ENI_KUBELET_KILLS=60 $(PY) -m pytest -q \
	  tests/webhook/multus/test_networks_oracle.py tests/webhook/server/test_fuzz.py tests/certs/test_simulation.py \
	  tests/cluster/test_generated_pods.py tests/cluster/test_certs_rotation.py \
	  tests/ipagent/controller/reconcile/test_simulation.py tests/ipagent/controller/reconcile/test_prefixes.py \
	  tests/ipagent/controller/relay/test_simulation.py tests/ipagent/controller/eip/test_simulation.py \
	  tests/cluster/nodes/test_story_capacity.py tests/cluster/nodes/test_story_controller.py \
	  tests/cluster/nodes/test_story_prefixes.py

bench-webhook: setup ## the webhook's speed (QUICK=1: a hint in minutes, as for all four): per core, beside its peers, and through the API server
	@$(PY) -m benchmarks.webhook $(QUICKLY)

bench-agent: setup ## what the agent costs: start, memory, rest, reaction to new addresses
	@$(PY) -m benchmarks.agent $(QUICKLY)

bench-cluster: setup ## how long pods take to start on a real node, without us and with either mode: root
	@$(PY) -m benchmarks.cluster $(QUICKLY)

bench-fleet: setup ## 20 node agents and 800 pods on a real API server against EC2 request limits, beside the direct backend
	@$(PY) -m benchmarks.fleet $(QUICKLY)

bench-controller: setup ## what the controller of node networks takes at rest (CPU, memory, calls to EC2), and how soon reset capacity is back
	@$(PY) -m benchmarks.controller $(QUICKLY)

base-image: setup ## the Debian that images are built in, by debootstrap: where no registry can be reached
	@scripts/system-packages.sh --require --images
	@$(PY) -m images base

images: setup ## both images for this machine, by buildah: docker archives in dist, with their SBOMs
	@$(PY) -m images build $(if $(BASE),--base $(BASE))

push: setup ## build and push images and chart: REGISTRY=... [PLATFORMS=linux/amd64,linux/arm64] [BASE=...]
	@[ -n "$(REGISTRY)" ] || { echo 'push: say where to: make push REGISTRY=registry.example' >&2; exit 2; }
	@$(PY) -m images push "$(REGISTRY)" $(if $(DIGESTS),--digests $(DIGESTS)) $(if $(PLATFORMS),--platforms $(PLATFORMS)) $(if $(BASE),--base $(BASE))

scan: setup ## known vulnerabilities of the Python packages in uv.lock: asks the advisory database of PyPI
	@.venv/bin/uv export --quiet --frozen --no-dev --no-emit-project --all-extras --output-file .venv/locked.txt
	@.venv/bin/uv tool run --from pip-audit==2.10.1 pip-audit --strict --require-hashes --disable-pip --requirement .venv/locked.txt

bundle: setup ## images and chart in one file in dist, for sites without internet
	@$(PY) -m images bundle $(if $(PLATFORMS),--platforms $(PLATFORMS)) $(if $(BASE),--base $(BASE))

test-images: system setup ## start the images as a restricted pod does, push them to a registry of the test's: root
	@$(PY) -m tests.cluster.tools --optional helm4 helm3
	@$(PY) -m pytest -q tests/images

cluster: system setup ## a real cluster of two nodes to play with, EC2's double as its cloud; stays up (root; docs/try-it.md)
	@$(PY) -m tests.cluster.tools etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl ipvlan helm4 >/dev/null
	@$(PY) -m tests.cluster.nodes up $(if $(NO_CHART),--no-chart)

cluster-down: ## end it; removes what killed test runs have left, too
	@$(PY) -m tests.cluster.nodes down

clean: ## remove what set-up and tests have made here
	rm -rf .venv .venv-* .coverage* .test-logs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
