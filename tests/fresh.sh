#!/usr/bin/env bash
# A fresh machine, as far as one machine can be one: a new user, an empty home, an empty environment.
# Clones HEAD and runs `make demo`, twice: with empty caches (cold) and with what the first time left in them (warm).
# Then `make test` in the second clone. All are timed. Needs root, for useradd. Deletes all it made at its end.
#
#     tests/fresh.sh                       # make demo, make demo, make test
#     tests/fresh.sh make lint             # another command in place of make test
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
  local name=$1 began code=0 took
  shift
  began=$(date +%s%N)
  as_user "$@" || code=$?
  took=$((($(date +%s%N) - began) / 100000000))
  echo "fresh: $name: exit code $code after $((took / 10)).$((took % 10)) s"
  return "$code"
}

demo() { # the clone's name: from the clone to the demo's last line
  timed "clone and make demo, $1" sh -c 'git -c advice.detachedHead=false clone --quiet ../head.bundle "$1" && exec make --no-print-directory -C "$1" demo' - "$1"
}

useradd --system --no-create-home --home-dir "$place/home" --shell /bin/bash "$user"
trap clean EXIT
git -C "$repository" bundle create --quiet "$place/head.bundle" HEAD
mkdir "$place/home" "$place/work"
chmod 0755 "$place"
chown "$user:" "$place/home" "$place/work"
chmod 0644 "$place/head.bundle"

echo "fresh: commit $(git -C "$repository" rev-parse --short HEAD), $(as_user sh -c '$PYTHON --version'), $(nproc) cores"
demo cold
demo warm
if [ $# = 0 ]; then
  set -- make test
fi
timed "$*" env -C warm "$@"
changed=$(as_user git -C warm status --porcelain)
if [ -n "$changed" ]; then
  echo "fresh: the clone is not as it was:" "$changed" >&2
  exit 1
fi
