#!/usr/bin/env bash
# `make test`: every phase with its time; the last line says how many tests passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/counts.sh

passed=0 failed=0 skipped=0 summary=()

# phase NAME COUNTS: runs `make NAME`. COUNTS is the file its tests are counted in, or empty for
# a phase that counts as one test.
phase() {
  local name=$1 counts=$2 started=$EPOCHREALTIME rc=0 result=ok
  printf '\n== %s\n' "$name"
  [ -z "$counts" ] || rm -f "build/test/$counts.counts"
  make "$name" || rc=$?
  if [ -n "$counts" ]; then
    read_counts "$counts"
  else
    counts_passed=$((rc == 0)) counts_failed=$((rc != 0)) counts_skipped=0
  fi
  # A phase that failed with no failed test broke elsewhere: that is a failure too.
  if [ "$rc" != 0 ] && [ "$counts_failed" = 0 ]; then counts_failed=1; fi
  [ "$rc" = 0 ] || result=FAILED
  passed=$((passed + counts_passed)) failed=$((failed + counts_failed)) skipped=$((skipped + counts_skipped))
  summary+=("$(printf '%-20s %-7s %10s  %5d passed %4d failed %4d skipped' "$name" "$result" \
    "$(seconds_since "$started")" "$counts_passed" "$counts_failed" "$counts_skipped")")
  return "$rc"
}

finish() {
  printf '\n'
  printf '%s\n' "${summary[@]}"
  mkdir -p build/test
  printf '%s passed, %s failed\n' "$passed" "$failed" | tee build/test/result
  [ "$failed" = 0 ] && exit 0
  exit 1
}

phase setup '' || finish
phase check check
if phase guest-image ''; then
  # First: tests of the next phase use the crictl that it builds.
  phase conformance-labelled conformance
  phase integration integration
fi
finish
