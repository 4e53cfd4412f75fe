#!/bin/sh
# Proves that the recipe in the README starts from nothing: an empty Debian (SUITE) is made in a folder, the committed
# source is cloned into it, and `make demo` and `make test` run there, without an accelerator. The folder goes away at the end.
# KEEP=1 keeps the folder and goes on in it next time, for work on a set-up that fails; it proves nothing about a cold start.
# How this machine reaches its package mirrors (apt and pip settings, certificates) is handed on as it is.
set -eu
suite=${SUITE:-bookworm}
source=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "fresh: needs root (debootstrap and chroot)" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "fresh: install debootstrap" >&2; exit 1; }
folder=${FRESH_FOLDER:-/var/tmp}
if [ -n "${KEEP:-}" ]; then
  root=$folder/tare-fresh.$suite
  mkdir -p "$root"
else
  root=$(mktemp -d "$folder/tare-fresh.XXXXXX")
fi
chmod 755 "$root"
finish() {
  for folder in proc dev/pts dev; do
    if mountpoint -q "$root/$folder"; then umount -l "$root/$folder" || { echo "fresh: $root/$folder is still mounted" >&2; exit 1; }; fi
  done
  if [ -n "${KEEP:-}" ]; then echo "fresh: kept $root"; else rm -rf --one-file-system "$root"; fi
}
trap finish EXIT
trap 'exit 1' INT TERM
mirror=${MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2> /dev/null |
  sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' | grep '/debian/*$' | head -n 1)}
[ -n "$mirror" ] || { echo "fresh: no Debian mirror is configured here; name one with MIRROR=" >&2; exit 1; }
echo "fresh: $suite"
if [ ! -x "$root/usr/bin/git" ]; then
  debootstrap --variant=minbase --include=make,ca-certificates,git "$suite" "$root" "$mirror" > "$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; rm -f "$root.log"; exit 1; }
  rm -f "$root.log"
fi
echo "deb $mirror $suite main" > "$root/etc/apt/sources.list"
grep -hs '^ *Acquire::' /etc/apt/apt.conf.d/* > "$root/etc/apt/apt.conf.d/90host" || true
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
  if [ -f "$file" ]; then cp "$file" "$root$file"; fi
done
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -f "$certificates" ]; then cp "$certificates" "$root/etc/ssl/certs/host.crt"; fi
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
if mountpoint -q /dev/pts; then mount --bind /dev/pts "$root/dev/pts"; fi
if [ -d "$root/root/tare" ]; then
  git -C "$root/root/tare" fetch -q "$source" HEAD
  git -C "$root/root/tare" reset -q --hard FETCH_HEAD
else
  git clone -q --no-hardlinks "$source" "$root/root/tare"
fi
set -- PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT JOBS CONFIGURE; do
  eval "value=\${$name:-}"
  if [ -n "$value" ]; then set -- "$@" "$name=$value"; fi
done
if [ -f "$certificates" ]; then set -- "$@" PIP_CERT=/etc/ssl/certs/host.crt SSL_CERT_FILE=/etc/ssl/certs/host.crt; fi
# Packages, models, build, demo and tests from nothing: what README promises for two cores.
limit=1500
total=0
for target in ${TARGETS:-demo test}; do
  start=$(date +%s)
  chroot "$root" env -i "$@" make -C /root/tare "$target"
  seconds=$(($(date +%s) - start))
  total=$((total + seconds))
  echo "fresh: $suite: make $target: $seconds s"
done
echo "fresh: $suite: set-up, build and tests together: $total s of $limit s"
echo "fresh: $suite: user and system time, of this shell and then of all commands:"
times
if [ "$total" -gt "$limit" ]; then
  echo "fresh: $suite: too slow: $total s, and $limit s are what is promised" >&2
  exit 1
fi
