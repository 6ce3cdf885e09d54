# Thin: each line is a command that a person could type.
.PHONY: help setup demo test test-deep test-elsewhere check format bench docs api-docs proto requirements wheel clean

help:             ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: .venv/run.stamp  ## .venv, with all that the commands need
	@echo "Ready: . .venv/bin/activate"

demo: .venv/run.stamp   ## everything: set-up, data, training, evaluation, export, serving, predictions
	.venv/bin/cnn-tf demo

test: .venv/dev.stamp   ## set-up and tests
	.venv/bin/python -m pytest

test-deep: .venv/dev.stamp ## the other networks too, which have the same blocks: twelve minutes
	.venv/bin/python -m pytest -m deep

test-elsewhere: .venv/dev.stamp .venv-2.20/stamp ## an export under TensorFlow 2.20, as in the serving image (takes 1.5 GB)
	.venv/bin/python -m pytest -m elsewhere

check: .venv/dev.stamp  ## lint, format, types, import rules, Dockerfile
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/hadolint Dockerfile

format: .venv/dev.stamp ## put the code into the house's format
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: .venv/dev.stamp  ## benchmarks; results in benchmarks/results/ (needs h2load: apt install nghttp2-client)
	.venv/bin/python -m benchmarks.client_import
	.venv/bin/python -m benchmarks.client_encode
	.venv/bin/python -m benchmarks.data
	.venv/bin/python -m benchmarks.data_memory
	.venv/bin/python -m benchmarks.rest_json
	.venv/bin/python -m benchmarks.batching
	.venv/bin/python -m benchmarks.engine
	.venv/bin/python -m benchmarks.transport
	.venv/bin/python -m benchmarks.serving
	.venv/bin/python -m benchmarks.soak

wheel: .venv/dev.stamp  ## dist/*.whl for this Python and platform, the server's inner loops compiled (needs a C compiler)
	HATCH_BUILD_HOOKS_ENABLE=1 .venv/bin/python -m build --no-isolation

docs: .venv/dev.stamp   ## draw the pictures of docs/lecture-note.md anew (trains, takes minutes)
	.venv/bin/python -m docs.drawings

api-docs: .venv/dev.stamp ## build/api/index.html: the docstrings of what is public as pages
	.venv/bin/python -m docs.api build/api

proto: .venv/dev.stamp  ## generate the _pb2 modules below serving/ from their .proto files
	.venv/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. $$(find serving -name '*.proto')

requirements:           ## pin the dependencies anew (needs uv)
	requirements/compile.sh

clean:                  ## remove the virtual environment, caches and what was built; data, runs and models stay
	rm -rf .venv .venv-2.20 build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv-2.20/stamp: requirements/elsewhere.txt
	.venv/bin/python -m venv .venv-2.20
	.venv-2.20/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/elsewhere.txt
	touch $@

.venv/%.stamp: requirements/%.txt pyproject.toml
	requirements/install.sh $*
