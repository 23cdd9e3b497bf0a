#!/usr/bin/env bash
# Builds critest and crictl of cri-tools into build/bin/cri-tools-VERSION, once for each version and Go.
#
#   test/conformance/build.sh v1.37
#
# Exit code 3: there is no Go that can build them; what to do about it is on standard error.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$1
module=test/conformance/$version
[ -f "$module/go.mod" ] || { echo "conformance: no cri-tools \"$version\": want v1.36 or v1.37" >&2; exit 2; }
wanted=$(sed -n 's/^go //p' "$module/go.mod")

# PATH first, then where Go's own archive and Debian's versioned packages put it.
go=
for candidate in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
  have=$(GOTOOLCHAIN=local "$candidate" env GOVERSION 2>/dev/null | sed 's/^go//') || continue
  if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]; then go=$candidate && break; fi
done
if [ -z "$go" ]; then
  echo "conformance: no Go $wanted or newer is found: install it from https://go.dev/dl/ into /usr/local/go, or put it on PATH" >&2
  exit 3
fi

folder=build/bin/cri-tools-$version
stamp="$(cat "$module/go.mod" "$module/go.sum" | sha256sum) $("$go" version)"
[ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
mkdir -p "$folder"
rm -f "$folder/stamp"
target=$PWD/$folder
echo "conformance: building critest and crictl $version ($("$go" version)); minutes the first time" >&2
cd "$module"
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
"$go" test -c -o "$target/critest" sigs.k8s.io/cri-tools/cmd/critest
"$go" build -o "$target/crictl" sigs.k8s.io/cri-tools/cmd/crictl
"$go" build -o "$target/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
printf '%s\n' "$stamp" >"$target/stamp"
