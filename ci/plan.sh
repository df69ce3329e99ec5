#!/usr/bin/env bash
# Validates the configuration and plans it; what a reviewer reads is in OUT afterwards.
#
#   plan.md       the plan as markdown, or what went wrong in its place
#   plan.json     the plan for `reconcile apply`; missing if there is none
#   exit-code     0 no changes, 2 changes, else the exit code of what failed
#
# It ends with 0 once plan.md is written. It takes from the environment:
#
#   OUT           the folder for all that
#   FILES         files and folders of the configuration, one a line; empty: hooks.yaml, else hooks/
#   BASE_REF      a commit; changes that the diff from it does not explain are marked
#   STATE         a file from `reconcile state export` to plan against: needs no access to anything
#   SERVER        or the URL of a daemon to plan against, with its token in RECONCILER_TOKEN
#                 (with neither, the store that RECONCILER_STORE names)
#   ANNOTATIONS   the format in which validate prints problems: github, or text (the default)
#   RECONCILE     the command (default reconcile)    PYTHON   an interpreter (default python3)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
reconcile=${RECONCILE:-reconcile}
out=${OUT:?"OUT names the folder for the plan"}
mkdir -p "$out"
rm -f "$out/plan.md" "$out/plan.json" "$out/exit-code"

files=()
while IFS= read -r line; do
  line=$(printf '%s' "$line" | sed 's/^[[:space:]]*//; s/[[:space:]]*$//')
  [ -z "$line" ] || files+=(-f "$line")
done <<< "${FILES:-}"

# The exit code of a command, its output where the caller sends it.
code_of() {
  local code=0
  "$@" || code=$?
  echo "$code" > "$out/exit-code"
}

finish_with_failure() {
  "${PYTHON:-python3}" "$here/failure.py" "$(cat "$out/exit-code")" "$1" > "$out/plan.md"
  exit 0
}

# The annotations come from a second run: the first one is what people read.
code_of "$reconcile" validate ${files[@]+"${files[@]}"} > "$out/problems.txt" 2> "$out/errors.txt"
if [ "${ANNOTATIONS:-text}" != text ]; then
  "$reconcile" validate ${files[@]+"${files[@]}"} --format "$ANNOTATIONS" 2> /dev/null || true
else
  cat "$out/problems.txt"
fi
if [ "$(cat "$out/exit-code")" != 0 ]; then
  cat "$out/errors.txt" >> "$out/problems.txt"
  cat "$out/errors.txt" >&2
  finish_with_failure "$out/problems.txt"
fi

plan=("$reconcile" --plan ${files[@]+"${files[@]}"} --format markdown --out "$out/plan.json" --detailed-exitcode)
[ -z "${STATE:-}" ] || plan+=(--state "$STATE")
[ -z "${SERVER:-}" ] || plan+=(--server "$SERVER")
if [ -n "${BASE_REF:-}" ]; then
  # A shallow clone does not have it yet.
  git cat-file -e "$BASE_REF^{commit}" 2> /dev/null || git fetch --quiet --no-tags --depth=1 origin "$BASE_REF"
  plan+=(--base-ref "$BASE_REF")
fi
code_of "${plan[@]}" > "$out/plan.md" 2> "$out/errors.txt"
cat "$out/errors.txt" >&2
case $(cat "$out/exit-code") in
  0 | 2) ;;
  *) rm -f "$out/plan.json"; finish_with_failure "$out/errors.txt" ;;
esac
