#!/bin/bash
# Runs a command with the repository where every user can reach it.
#
#   tools/open-tree.sh COMMAND [ARGUMENTS]
#
# huskd starts its unprivileged processes from its own source tree. In a checkout below a folder
# that only root may enter they could not read it; then the command runs in a mount namespace of
# its own, where the tree is bound to a folder that all may pass. Nothing of it stays.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)

if [ "$(id -u)" != 0 ] || "${nobody[@]}" test -r "$repository/package.json"; then
  cd "$repository"
  exec "$@"
fi
exec unshare --mount --propagation private bash -euc '
  open=/mnt
  mount -t tmpfs -o mode=0755,size=64k husk-tree "$open"
  mkdir "$open/husk"
  mount --bind "$0" "$open/husk"
  cd "$open/husk"
  export PATH="$open/husk/build/bin:$open/husk/node_modules/.bin:$PATH"
  exec "$@"
' "$repository" "$@"
