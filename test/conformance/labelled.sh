#!/usr/bin/env bash
# The specs that Kubernetes labels [Conformance], on VM pods: the part of the suite that `make test` runs. Where there
# is no Go to build the suite with they are skipped, and build.sh says how to get one.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tools/counts.sh

version=${1:-v1.37} rc=0
test/conformance/build.sh "$version" || rc=$?
if [ "$rc" = 3 ]; then
  echo 'conformance: skipped' >&2
  write_counts conformance 0 0 1
  exit 0
fi
[ "$rc" = 0 ] || exit "$rc"
exec tools/open-tree.sh node test/conformance/main.ts --cri-tools "$version" --runs default --parallel 2 \
  --focus '\[Conformance\]' --counts build/test/conformance.counts
