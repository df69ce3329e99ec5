#!/usr/bin/env bash
# What the action does once the tool is installed: plan, tell GitHub, comment.
#
# Beside what plan.sh and comment.py take: COMMENT (true or false), and what GitHub gives every step
# (GITHUB_EVENT_PATH, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY …). It ends with 0 where no plan could be made, too: a step
# that fails might lose its outputs, so the action's last step fails in its place.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}

if [ -z "${BASE_REF:-}" ]; then
  BASE_REF=$("$python" -c '
import json, sys
event = json.load(open(sys.argv[1], encoding="utf-8"))
print(((event.get("pull_request") or {}).get("base") or {}).get("sha", ""))' "$GITHUB_EVENT_PATH")
fi
[ "$BASE_REF" != none ] || BASE_REF=
export BASE_REF

mkdir -p "$OUT"
# What the files say must not be taken for commands to the runner; the annotations of validate are such commands.
ANNOTATIONS=github bash "$here/plan.sh" 2> "$OUT/log.txt"
guard=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$guard"
cat "$OUT/log.txt"
echo "::$guard::"

code=$(cat "$OUT/exit-code")
{
  echo "exit-code=$code"
  case $code in 2) echo "changes=true" ;; *) echo "changes=false" ;; esac
  [ ! -e "$OUT/plan.json" ] || echo "plan=$OUT/plan.json"
  echo "markdown=$OUT/plan.md"
} >> "$GITHUB_OUTPUT"
cat "$OUT/plan.md" >> "$GITHUB_STEP_SUMMARY"

if [ "${COMMENT:-true}" = true ]; then
  written=0
  address=$("$python" "$here/comment.py" github "$OUT/plan.md" 2> "$OUT/comment.txt") || written=$?
  case $written in
    0) [ -z "$address" ] || echo "comment=$address" >> "$GITHUB_OUTPUT" ;;
    3) echo "::warning title=No comment::The token may not comment here; the plan is in the summary of this run." ;;
    *) cat "$OUT/comment.txt" >&2; exit 1 ;;
  esac
fi
