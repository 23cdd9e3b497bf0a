#!/usr/bin/env bash
# Runs a set of tests with node:test and leaves the counts in build/test/<set>.counts.
#
#   tools/run-tests.sh unit [file...]          in parallel, seconds, no privileges
#   tools/run-tests.sh integration [file...]   one file after the other, real machines, root
#
# A test file must end by itself: node:test waits for ever for one that leaves a timer or a
# socket open, so each run has a deadline, and a run that reaches it counts as a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/counts.sh

set_name=$1
shift
case "$set_name" in
  unit)
    patterns=('src/**/*.test.ts' 'guest-agent/**/*.test.ts' 'images/**/*.test.ts' 'test/helpers/**/*.test.ts' 'test/architecture/**/*.test.ts' 'test/bench/**/*.test.ts' 'test/conformance/**/*.test.ts')
    run_limit_s=300 test_limit_ms=120000
    ;;
  integration)
    patterns=('test/integration/**/*.test.ts')
    # A cold boot under emulation takes seconds, a file of them minutes.
    run_limit_s=1800 test_limit_ms=1200000
    ;;
  *)
    echo "set of tests is \"$set_name\": want unit or integration" >&2
    exit 2
    ;;
esac
# HUSK_TEST_LIMIT_S shortens the deadline, for the test of this script.
run_limit_s=${HUSK_TEST_LIMIT_S:-$run_limit_s}
[ $# = 0 ] || patterns=("$@")

mkdir -p build/test
rm -f "build/test/$set_name.counts"
counts_dir=$(mktemp -d "build/test/$set_name.XXXXXX")
trap 'rm -rf "$counts_dir"' EXIT
passed=0 failed=0 skipped=0 failures=()

# One run of node:test over the files or patterns given; adds to the sums.
run() {
  local name=$1 rc=0
  shift
  timeout -k 10 "$run_limit_s" node --test --test-concurrency="$concurrency" --test-timeout="$test_limit_ms" \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=./tools/count-reporter.ts --test-reporter-destination="$counts_dir/counts" \
    "$@" || rc=$?
  read_counts_file "$counts_dir/counts"
  rm -f "$counts_dir/counts"
  if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
    echo "$name: still running after $run_limit_s s: a test hangs, or its file leaves something open" >&2
  fi
  # A runner that failed with no failed test has crashed.
  if [ "$rc" != 0 ] && [ "$counts_failed" = 0 ]; then counts_failed=1; fi
  [ "$counts_failed" = 0 ] || failures+=("$name")
  passed=$((passed + counts_passed)) failed=$((failed + counts_failed)) skipped=$((skipped + counts_skipped))
}

if [ "$set_name" = unit ]; then
  concurrency=$(nproc)
  run unit "${patterns[@]}"
else
  concurrency=1
  mapfile -t files < <(node -e 'for (const f of process.argv.slice(1).flatMap((p) => require("node:fs").globSync(p)).sort()) console.log(f)' "${patterns[@]}")
  for file in "${files[@]}"; do
    printf -- '-- %s\n' "$file"
    run "$file" "$file"
  done
fi

# No test at all is a mistake in a pattern, never a success.
if [ $((passed + failed)) = 0 ]; then
  failed=1 failures+=("no test matches ${patterns[*]}")
fi
write_counts "$set_name" "$passed" "$failed" "$skipped"
printf '%s: %s passed, %s failed, %s skipped\n' "$set_name" "$passed" "$failed" "$skipped"
[ "$failed" = 0 ] || { printf '%s: failed: %s\n' "$set_name" "${failures[*]}" >&2; exit 1; }
