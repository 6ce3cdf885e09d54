#!/bin/sh
# install.sh run|dev: makes .venv in this checkout and installs the pinned dependencies and the checkout itself into it.
# Needs only a Python from 3.10 to 3.13; PYTHON=... chooses one.
set -eu
cd "$(dirname "$0")/.."
kind=$1

fits() {
    "$1" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

choose_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python from 3.10 to 3.13 found. Tried: ${PYTHON:-python3, python3.10 to python3.13}." \
        "Install one, or name it: make PYTHON=/path/to/python3.12" >&2
    return 1
}

# Debian's python3 comes without pip unless python3-venv is installed; its pip can be had without root.
pip_from_debian() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download python3-pip-whl && dpkg -x ./*.deb .) || {
        echo "This Python cannot make virtual environments: install its venv package (Debian: python3-venv)." >&2
        return 1
    }
    wheel=$(echo "$folder"/usr/share/python-wheels/pip-*.whl)
    .venv/bin/python "$wheel/pip" install -q --no-index "$wheel"
}

make_venv() {
    python=$(choose_python)
    echo "Making .venv with $("$python" --version)"
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    else
        "$python" -m venv --without-pip .venv
        pip_from_debian
    fi
}

if ! { fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    make_venv
fi
echo "Installing the dependencies (requirements/$kind.txt) into .venv; the first time that takes some minutes"
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "requirements/$kind.txt"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
touch ".venv/$kind.stamp"
