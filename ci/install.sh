#!/usr/bin/env bash
# Installs the tool from this checkout into an environment of its own and prints the path of its command.
#
#   install.sh FOLDER     FOLDER is made; PYTHON names an interpreter, else the first new enough one is taken
#
# The versions of what it needs are those that requirements.lock pins: the ones that it was tested with.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:?"usage: install.sh FOLDER"}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo 'Python 3.11 or newer is needed: add actions/setup-python before this step, or take a newer image' >&2
  return 1
}

python=$(find_python)
"$python" -m venv "$folder"
sed -n 's/^\([A-Za-z0-9._-]*==[^ ;\\]*\).*/\1/p' "$here/requirements.lock" > "$folder/constraints.txt"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
  --constraint "$folder/constraints.txt" "$here" >&2
echo "$folder/bin/reconcile"
