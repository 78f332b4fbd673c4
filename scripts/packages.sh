#!/bin/bash
# Installs what scripts/packages.txt names and this machine lacks. Usage: packages.sh GROUP...
# Quick when nothing is missing. Needs root or sudo only to install. Exit status 1 when something is missing still.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The packages of the groups that dpkg does not have as installed.
missing() {
  local wanted
  wanted=$(for group in "$@"; do
    awk -v group="[$group]" '/^\[/ { inside = $0 == group; next } inside && !/^#/ && NF { print $1 }' \
      "$here/packages.txt"
  done | sort -u)
  comm -23 <(echo "$wanted") \
    <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null |
      awk '$1 == "ii" { print $2 }' | sort -u)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

need=$(missing "$@" | tr '\n' ' ')
[ -n "${need// /}" ] || exit 0
echo "installing: $need"
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
  echo "missing Debian packages, and neither root nor sudo to install them. As root:"
  echo "  apt-get install --no-install-recommends $need"
  exit 1
fi
log=$(mktemp)
# shellcheck disable=SC2086
if ! install $need >"$log" 2>&1; then
  as_root apt-get update -qq >>"$log" 2>&1
  if ! install $need >>"$log" 2>&1; then
    # One that cannot be had must not keep the others away.
    for package in $need; do install "$package" >>"$log" 2>&1; done
  fi
fi
need=$(missing "$@" | tr '\n' ' ')
if [ -n "${need// /}" ]; then
  tail -5 "$log"
  echo "could not install: $need"
fi
rm -f "$log"
[ -z "${need// /}" ]
