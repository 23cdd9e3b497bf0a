#!/usr/bin/env bash
# Builds the guest image with the pinned Node; `make guest-image` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
exec build/bin/node images/build.ts "$@"
