#!/usr/bin/env bash
# The gate. Runs every step even after one has failed, so that one run shows all there is to mend.
# A warning is a failure. Leaves the counts in build/test/check.counts for tools/test.sh.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/counts.sh

passed=0 failed=0 failures=()
step() {
  local name=$1 started=$EPOCHREALTIME rc=0
  shift
  "$@" || rc=$?
  if [ "$rc" = 0 ]; then
    passed=$((passed + 1))
    printf 'check: %-16s ok       %s\n' "$name" "$(seconds_since "$started")"
  else
    failed=$((failed + 1)) failures+=("$name")
    printf 'check: %-16s FAILED   %s (exit code %s: %s)\n' "$name" "$(seconds_since "$started")" "$rc" "$*"
  fi
}

step format biome check --error-on-warnings .
step lint-config node tools/lint-config.ts --check
step lint oxlint --type-aware --deny-warnings --report-unused-disable-directives-severity=error .
step types tsc -p tsconfig.json
step unused knip --no-progress --treat-config-hints-as-errors
# The unit tests count one by one, the other steps as one each.
step unit tools/run-tests.sh unit
step generated tools/proto.sh --check

read_counts unit
# "unit" itself is no test: take it out where its tests stand for it.
if [ "$counts_failed" -gt 0 ]; then failed=$((failed - 1)); elif [ "$counts_passed" -gt 0 ]; then passed=$((passed - 1)); fi
write_counts check $((passed + counts_passed)) $((failed + counts_failed)) "$counts_skipped"
[ "${#failures[@]}" = 0 ] || { echo "check: failed: ${failures[*]}" >&2; exit 1; }
