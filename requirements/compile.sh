#!/bin/sh
# Pins every dependency with its hashes, for Python 3.10 to 3.13 on every platform: `make requirements` (needs uv).
set -eu
cd "$(dirname "$0")/.."
compile() {
    output=$1
    shift
    uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.10 \
        --custom-compile-command "make requirements" --output-file "requirements/$output" "$@"
}
compile dev.txt pyproject.toml requirements/build.in --extra dev
compile run.txt pyproject.toml requirements/build.in --extra all --constraint requirements/dev.txt
compile client.txt pyproject.toml requirements/build.in --extra client --constraint requirements/dev.txt
compile elsewhere.txt requirements/elsewhere.in --constraint requirements/dev.txt
