#!/usr/bin/env bash
# Have promtool, which checks the alert rules: from the system, or unpacked out of Debian's package into build/tools,
# so that nothing is installed and no service started. Prints its path; ends with 1, and says why, where it cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$PWD/build/tools
if found=$(PATH=$PATH:$folder command -v promtool); then
  echo "$found"
  exit
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo 'promtool is not here, and without apt it cannot be got: install Prometheus' >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$work"
  timeout 60 apt-get -qq -o APT::Sandbox::User=root update >&2 || true
fi
if ! timeout 120 apt-get -qq -o APT::Sandbox::User=root download prometheus >&2; then
  echo 'promtool is not here, and the package `prometheus` could not be downloaded' >&2
  exit 1
fi
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
mkdir -p "$folder"
mv usr/bin/promtool "$folder/promtool"
echo "$folder/promtool"
