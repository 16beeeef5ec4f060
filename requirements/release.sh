#!/usr/bin/env bash
# Build wheel and sdist into dist/, the same bytes from the same commit, and try the wheel in a fresh environment.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Only what is committed goes into a release.
git archive --format=tar HEAD | { mkdir "$work/source" && tar -x -C "$work/source"; }

build() { "$BIN/python" -m build --no-isolation --outdir "$1" "$work/source" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }; }
build "$work/once"
build "$work/twice"
for file in "$work"/once/*; do
  cmp "$file" "$work/twice/$(basename "$file")"
done

"$BIN/python" -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/base.txt
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$work"/once/*.whl
"$work/env/bin/python" -m pip check
said=$("$work/env/bin/arb" --version)
version=$(basename "$work"/once/*.tar.gz .tar.gz)
case "$said" in
  *"${version#arbkube-}"*) ;;
  *) echo "the wheel is ${version#arbkube-} and its command says: $said" >&2; exit 1 ;;
esac

mkdir -p dist
rm -f dist/*
mv "$work"/once/* dist/
ls -l dist
