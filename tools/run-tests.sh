#!/usr/bin/env bash
# Runs a set of tests with node:test and leaves the counts in build/test/<set>.counts.
#
#   tools/run-tests.sh unit [file...]          in parallel, seconds, no privileges
#   tools/run-tests.sh integration [file...]   one file after the other, real machines, root
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/counts.sh

set_name=$1
shift
case "$set_name" in
  unit)
    patterns=('src/**/*.test.ts' 'guest-agent/src/**/*.test.ts' 'test/architecture/**/*.test.ts')
    options=(--test-timeout=120000)
    ;;
  integration)
    patterns=('test/integration/**/*.test.ts')
    # A cold boot under emulation takes seconds, a file of them minutes.
    options=(--test-concurrency=1 --test-timeout=1200000)
    ;;
  *)
    echo "set of tests is \"$set_name\": want unit or integration" >&2
    exit 2
    ;;
esac
[ $# = 0 ] || patterns=("$@")

mkdir -p build/test
rm -f "build/test/$set_name.counts"
rc=0
node --test "${options[@]}" \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./tools/count-reporter.ts --test-reporter-destination="build/test/$set_name.counts" \
  "${patterns[@]}" || rc=$?
read_counts "$set_name"
# No test at all is a mistake in a pattern, and a runner that failed with no failed test has crashed.
if [ $((counts_passed + counts_failed)) = 0 ] || { [ "$rc" != 0 ] && [ "$counts_failed" = 0 ]; }; then
  write_counts "$set_name" "$counts_passed" $((counts_failed + 1)) "$counts_skipped"
  echo "$set_name: the test runner ended with exit code $rc after $counts_passed passed tests" >&2
  exit 1
fi
exit "$rc"
