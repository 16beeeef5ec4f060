#!/usr/bin/env bash
# What a base install weighs: a fresh environment with the base lock and the project's wheel, on disk and in memory.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$BIN/python" -m venv "$work/env"
before=$(du -sk "$work/env" | cut -f1)
"$BIN/python" -m build --no-isolation --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement requirements/base.txt
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps "$work"/dist/*.whl
after=$(du -sk "$work/env" | cut -f1)
echo "base install: $(((after - before + 512) / 1024)) MB on disk besides Python and pip"
