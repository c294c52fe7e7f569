# Two commands do everything: `make demo` and `make test`. `make help` lists the others.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-benchmarks test-oldest test-backends quick polyglot lint types check bench bench-client bench-decoders coverage-matrix overload soak fuzz peers gpu-check conformance proto clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# Everything the demo and the tests need, at the versions that were tested together.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== installing headgate and what the demo and the tests need into $(VENV) (about a minute)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,http,export,tensorflow,bench,dev,conformance]'
	@touch $@

demo: $(VENV)/.installed ## train three small Keras models, export, serve and query them
	$(BIN)/python examples/demo.py

# What starts servers and puts them under load has the processors to itself; the rest shares them.
SERVING := tests/server tests/e2e tests/benchmarks tests/fuzz
test: lint types $(VENV)/.installed ## lint, type check and the test suite
	$(BIN)/pytest -m 'not benchmark and not polyglot' $(SERVING:%=--ignore=%) --numprocesses auto --dist loadfile
	$(BIN)/pytest -m 'not benchmark' $(SERVING)

test-benchmarks: $(VENV)/.installed ## the tests that run whole benchmarks and install peers (3 minutes)
	$(BIN)/pytest -m benchmark

quick: $(VENV)/.installed ## the tests that take no more than a few seconds
	$(BIN)/pytest -m 'not slow and not benchmark and not polyglot'

polyglot: $(VENV)/.installed ## the clients of other languages, built and run, as far as their toolchains are installed
	$(BIN)/pytest tests/polyglot

lint: $(VENV)/.installed ## ruff: style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers do not follow an editable install whose folders have other names than its packages: links do.
types: $(VENV)/.installed ## mypy
	@mkdir -p build/types/headgate
	@for part in decoders exporter server client cli benchmarks; do ln -sfn ../../../$$part build/types/headgate/$$part; done
	@for part in __init__.py py.typed v1 foreign; do ln -sfn ../../../proto/headgate/$$part build/types/headgate/$$part; done
	MYPYPATH=build/types $(BIN)/mypy -p headgate

# An environment of its own; tritonclient, which needs a newer grpcio, is left out and its tests are skipped.
test-oldest: ## the test suite with the oldest supported versions
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable '.[cpu,http,export,tensorflow,bench,dev]'
	.venv-oldest/bin/pytest -m 'not polyglot' --deselect tests/e2e/test_wheel.py

# An environment of its own: gigabytes, less where PyTorch's index of CPU wheels can be reached. tf_keras wants `tensorflow`.
BACKENDS := build/backends
TORCH := torch==2.15.0
$(BACKENDS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/pip install --quiet --retries 1 --index-url https://download.pytorch.org/whl/cpu $(TORCH) \
		|| $(BACKENDS)/bin/pip install --quiet --constraint constraints.txt $(TORCH)
	$(BACKENDS)/bin/pip install --quiet --constraint constraints.txt --editable '.[cpu,export,dev]' \
		tensorflow==2.21.0 tf_keras==2.21.0 jax==0.10.2
	@touch $@

# Tests skip what cannot be imported: here nothing is.
test-backends: $(BACKENDS)/.installed ## the exporter's tests of models made under JAX, PyTorch and Keras 2 (3 minutes)
	$(BACKENDS)/bin/python -c 'import jax, torch, tf_keras'
	$(BACKENDS)/bin/python -m pytest -m backends tests/exporter tests/benchmarks/coverage

bench: $(VENV)/.installed ## requests/s, latency and CPU per request of the server and of a bare echo
	$(BIN)/python -m headgate.benchmarks

bench-client: $(VENV)/.installed ## ways to ask for single rows with the Python client (3 minutes)
	$(BIN)/python -m headgate.benchmarks.client

bench-decoders: $(VENV)/.installed ## the decoders beside their floors and what people use (2 minutes)
	$(BIN)/python -m headgate.benchmarks.decoders

coverage-matrix: $(BACKENDS)/.installed ## what of Keras exports: every layer and architecture; writes docs/coverage.md (an hour)
	$(BACKENDS)/bin/python -m headgate.benchmarks.coverage

overload: $(VENV)/.installed ## goodput, refusals and recovery at up to four times what the server can do (5 minutes)
	$(BIN)/python -m headgate.benchmarks.overload

soak: $(VENV)/.installed ## whether memory stays where it is: ten minutes of mixed traffic
	$(BIN)/python -m headgate.benchmarks.soak

fuzz: $(VENV)/.installed ## 100,000 bad inputs of all kinds, and what a client of good requests sees of them (10 minutes)
	$(BIN)/python -m headgate.benchmarks.fuzz

# An environment of its own, with onnxruntime-gpu; GPU_PYTHON=python3 takes one that has all of it.
GPU_PYTHON ?= .venv-gpu/bin/python
gpu-check: ## the tests and the benchmark that need a CUDA device; writes benchmarks/results/<date>-<device>.md
	@$(PYTHON) benchmarks/cuda_devices.py
ifeq ($(GPU_PYTHON),.venv-gpu/bin/python)
	$(PYTHON) -m venv .venv-gpu
	$(GPU_PYTHON) -m pip install --quiet --editable '.[gpu]' hypothesis onnx pytest pytest-timeout 'tritonclient[cuda,grpc]>=2.73'
endif
	$(GPU_PYTHON) -m pytest -m gpu tests/server/test_gpu.py tests/server/test_gpu_shared_memory.py
	$(GPU_PYTHON) -m headgate.benchmarks.gpu

# Each peer gets an environment of its own under build/peers, made when it is missing: a gigabyte from PyPI.
peers: $(VENV)/.installed ## headgate beside other model servers: a table in benchmarks/results (10 to 20 minutes)
	$(BIN)/python -m headgate.benchmarks.peers

proto: $(VENV)/.installed ## regenerate the code made from the .proto files
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto proto/headgate/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I proto --grpc_python_out=proto proto/headgate/v1/prediction_service.proto
	$(BIN)/python -m grpc_tools.protoc -I proto --include_imports --descriptor_set_out=proto/headgate/foreign/foreign.binpb \
		$(sort $(wildcard proto/headgate/foreign/*.proto))

# Each client gets an environment of its own under build/conformance, made when it is missing: a gigabyte from PyPI and Go's proxy.
conformance: $(VENV)/.installed ## clients that others wrote: works or why not; writes docs/compatibility.md (10 minutes)
	$(BIN)/python -m tests.conformance

clean: ## remove what was built here
	rm -rf $(VENV) .venv-oldest build dist *.egg-info demo-output
	cd examples/clients && rm -rf */build */target node/node_modules node/stubs
