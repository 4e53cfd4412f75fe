#!/bin/sh
# Installs those packages of docker/apt-packages.txt that are missing. Needs root or sudo only when something is.
set -eu
list=$(cd "$(dirname "$0")/../docker" && pwd)/apt-packages.txt
if ! command -v dpkg-query > /dev/null; then
  echo "setup: not a Debian or Ubuntu system; install what $list names" >&2
  exit 1
fi
missing=
for package in $(sed 's/#.*//' "$list"); do
  dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "setup: installing$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null || { echo "setup: needs root or sudo to install:$missing" >&2; exit 1; }
  as_root=sudo
fi
. /etc/os-release
case "${VERSION_CODENAME:-}" in
  bookworm | trixie | noble) ;;
  *) echo "setup: ${PRETTY_NAME:-this system} is not one of those tested (Debian 12, Debian 13, Ubuntu 24.04); going on" ;;
esac
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $missing > /dev/null
