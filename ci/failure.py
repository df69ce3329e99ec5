"""A comment in place of a plan that could not be made: `failure.py EXIT-CODE FILE`, FILE being what was printed.

Standard library only: it runs wherever there is a Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MARKER = "<!-- webhook-reconciler:plan -->"
SHOWN_MAX = 50_000
"""Characters of what was printed; a comment on GitHub holds 65,536."""
VERDICTS = {
    "65": "the configuration is invalid",
    "66": "the state cannot be read",
    "69": "the daemon cannot be reached",
}


def comment(code: str, printed: str) -> str:
    """The comment. What was printed stands in a fence that nothing in it can close."""
    verdict = VERDICTS.get(code, f"no plan could be made (exit code {code})")
    shown = "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in printed)
    if len(shown) > SHOWN_MAX:
        shown = shown[:SHOWN_MAX].rpartition("\n")[0] + "\n… the rest did not fit; see the log of the job"
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{MARKER}\n### ❌ Webhooks: {verdict}\n\n{fence}text\n{shown.strip()}\n{fence}\n"


if __name__ == "__main__":
    text = Path(sys.argv[2]).read_text(encoding="utf-8", errors="replace")
    sys.stdout.buffer.write(comment(sys.argv[1], text).encode())
