#!/usr/bin/env bash
# Generates src/gen from every .proto file under proto/.
#
#   tools/proto.sh           write src/gen
#   tools/proto.sh --check   fail when src/gen is not what proto/ gives
#
# The result is checked in (docs/adr/0003-generated-code.md): a clone runs without protoc.
set -euo pipefail
cd "$(dirname "$0")/.."

# grpc-js services; 64-bit numbers as bigint; oneofs as tagged unions; enums as `as const`
# objects, which Node's type stripping can run.
common=esModuleInterop=true,env=node,forceLong=bigint,oneof=unions-value,outputServices=grpc-js
common+=,importSuffix=.ts,enumsAsLiterals=true,unrecognizedEnum=true,snakeToCamel=true,useOptionals=none

# The CRI front must hand on fields that are newer than its proto file. The internal protocols
# must not: there an unknown field is something a guest tries to smuggle through the gateway.
options_for() {
  case "$1" in
    cri/*) echo "$common,unknownFields=true" ;;
    *) echo "$common,outputJsonMethods=false" ;;
  esac
}

# One header line tells the local versions of protoc; leave it out, or the output would
# change with the machine.
generate() {
  local out=$1 file
  mkdir -p "$out"
  (cd proto && find . -name '*.proto' -printf '%P\n' | LC_ALL=C sort) | while read -r file; do
    (cd proto && protoc -I. \
      --plugin=protoc-gen-ts_proto=../node_modules/.bin/protoc-gen-ts_proto \
      --ts_proto_out="$out" --ts_proto_opt="$(options_for "$file"),annotateFilesWithVersion=false" \
      --ts_proto_opt=emitImportedFiles=false "$file")
  done
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
generate "$tmp/gen"

if [ "${1:-}" = --check ]; then
  if ! diff -rq "$tmp/gen" src/gen; then
    echo 'src/gen is not what proto/ gives: run "make proto" and commit the result' >&2
    exit 1
  fi
  exit 0
fi
mkdir -p src/gen
# Write only what changed, so that watchers and stamp files see no false news.
(cd "$tmp/gen" && find . -name '*.ts' -printf '%P\n') | while read -r f; do
  cmp -s "$tmp/gen/$f" "src/gen/$f" || install -D -m 0644 "$tmp/gen/$f" "src/gen/$f"
done
(cd src/gen && find . -name '*.ts' -printf '%P\n') | while read -r f; do
  [ -e "$tmp/gen/$f" ] || rm -f "src/gen/$f"
done
