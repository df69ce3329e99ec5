#!/usr/bin/env bash
# What the GitLab job does once the tool is installed: plan, report the problems, write the note.
#
# Beside what plan.sh and comment.py take: what GitLab gives every job of a merge request. Leaves codequality.json
# in OUT, which GitLab shows in the merge request's widget and diff. It fails where no plan could be made.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
: "${BASE_REF=${CI_MERGE_REQUEST_DIFF_BASE_SHA:-}}"
export BASE_REF

bash "$here/plan.sh"
"$python" "$here/codequality.py" > "$OUT/codequality.json"
if [ -n "${GITLAB_TOKEN:-}" ]; then
  written=0
  "$python" "$here/comment.py" gitlab "$OUT/plan.md" || written=$?
  case $written in
    0 | 3) ;;
    *) exit 1 ;;
  esac
else
  cat "$OUT/plan.md"
fi

code=$(cat "$OUT/exit-code")
case $code in
  0 | 2) ;;
  *) exit "$code" ;;
esac
