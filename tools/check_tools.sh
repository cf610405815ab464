#!/usr/bin/env bash
# Names every tool that `make setup` needs and this machine lacks.
set -u
python=${1:-python3.11}
missing=0
need() {
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "missing: $1 ($2)" >&2
        missing=1
    fi
}
need "$python" "Python 3.11 or newer: apt-get install python3.11 python3.11-venv, or make PYTHON=..."
need cc "a C compiler: apt-get install build-essential"
need cargo "a Rust toolchain, 1.85 or newer: rustup"
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "missing: Python 3.11 or newer ($python is $("$python" --version))" >&2; missing=1; }
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        { echo "missing: the venv module: apt-get install python3.11-venv" >&2; missing=1; }
fi
exit $missing
