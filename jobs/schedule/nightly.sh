#!/bin/sh
# Runs a nightly job, and resumes it if it stopped. For cron, or any other program that only starts commands.
#
#   nightly.sh JOB        for instance: nightly.sh /etc/bulkreset/nightly.toml
#
# The job must have [schedule] state: then `bulkreset run` first resumes a run of this job that is not finished, and is never
# begun anew. Without it every retry would set every row again.
#
#   exit code             what happens
#   0                     the night is done
#   3, 5, 130, 143, 137   tried again after a while, which resumes the run: stopped, out of time, interrupted, killed
#   1                     not tried again: finished, and what was refused will be refused again
#   2, 4, 70              not tried again: a person must look; another process is at it; a bug
set -u

bulkreset=${BULKRESET:-bulkreset} # the command, where it is not in PATH
tries=${BULKRESET_TRIES:-4}       # executions in one night
pause=${BULKRESET_PAUSE:-600}     # seconds between two of them

# tr: a file in UTF-16 has a zero byte in every letter.
if ! tr -d '\000' 2>&- <"$1" | grep -Eq '^[[:space:]]*(schedule\.)?state[[:space:]]*='; then
    echo "nightly.sh: $1 cannot be read, or has no [schedule] state: every retry would set every row again." >&2
    exit 2
fi

while :; do
    "$bulkreset" run "$1" --yes --quiet --no-progress
    code=$?
    tries=$((tries - 1))
    case $code in
        3 | 5 | 130 | 137 | 143) [ "$tries" -gt 0 ] || exit "$code" ;;
        *) exit "$code" ;;
    esac
    sleep "$pause"
done
