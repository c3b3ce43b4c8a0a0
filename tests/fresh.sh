#!/usr/bin/env bash
# A fresh machine, as far as one machine can be one: a new user, an empty home, an empty environment, a clone of HEAD;
# then the README's two commands, timed. Needs root, for useradd. What it made is taken away at its end.
#
#     tests/fresh.sh                       # make demo, make test
#     tests/fresh.sh make lint             # make demo, and something shorter
#     PYTHON=/opt/python3.13/bin/python3 tests/fresh.sh
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
  echo "tests/fresh.sh makes a user: it must be run by root" >&2
  exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
user=fresh$$
place=$(mktemp -d "${TMPDIR:-/tmp}/fresh.XXXXXX")

clean() {
  userdel "$user" || echo "the user $user is still there" >&2
  rm -rf "$place"
}

as_user() { # a command, with nothing of our environment
  runuser -u "$user" -- env -i -C "$place/work" PATH=/usr/local/bin:/usr/bin:/bin HOME="$place/home" PYTHON="${PYTHON:-python3}" "$@"
}

timed() { # a name, and a command
  local name=$1 began=$SECONDS code=0
  shift
  as_user "$@" || code=$?
  echo "fresh: $name: exit code $code after $((SECONDS - began)) s"
  return "$code"
}

useradd --system --no-create-home --home-dir "$place/home" --shell /bin/bash "$user"
trap clean EXIT
git -C "$repository" bundle create --quiet "$place/head.bundle" HEAD
mkdir "$place/home" "$place/work"
chmod 0755 "$place"
chown "$user:" "$place/home" "$place/work"
chmod 0644 "$place/head.bundle"

as_user git -c advice.detachedHead=false clone --quiet "$place/head.bundle" .
as_user sh -c 'echo "fresh: commit $(git rev-parse --short HEAD), $($PYTHON --version), $(nproc) cores"'
timed "make demo" make demo
if [ $# = 0 ]; then
  set -- make test
fi
timed "$*" "$@"
changed=$(as_user git status --porcelain)
if [ -n "$changed" ]; then
  echo "fresh: the clone is not as it was:" "$changed" >&2
  exit 1
fi
