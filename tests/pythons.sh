#!/usr/bin/env bash
# `make check` and the demo on each Python that is supported, in environments of their own; run by `make pythons`.
# Looks for them on PATH, where uv looks, and among pyenv's. Ends with 1 if one failed, and with 3 if all that were
# found passed but one was not found; PYTHONS_MISSING=allowed ends with 0 then.
set -uo pipefail
cd "$(dirname "$0")/.."
uv=.uv/bin/uv

find_python() { # a version such as 3.12: the path of its interpreter
  "$uv" python find --no-project --system "$1" 2>/dev/null && return
  local candidate
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if [ -x "$candidate" ]; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

passed=() failed=() missing=()
for version in $(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml); do
  if ! python=$(find_python "$version"); then
    missing+=("$version")
  elif make --no-print-directory PYTHON="$python" VENV=".venv-$version" check demo; then
    passed+=("$version")
  else
    failed+=("$version")
  fi
done
echo "pythons: passed: ${passed[*]:-none}; failed: ${failed[*]:-none}; not found: ${missing[*]:-none}"
if [ ${#failed[@]} != 0 ] || [ ${#passed[@]} = 0 ]; then
  exit 1
fi
if [ ${#missing[@]} != 0 ] && [ "${PYTHONS_MISSING:-}" != allowed ]; then
  exit 3
fi
