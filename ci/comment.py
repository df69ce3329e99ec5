"""Writes a plan under a pull request or merge request: one comment, which every later plan updates in place.

`comment.py github FILE` or `comment.py gitlab FILE`. FILE begins with a hidden marker, by which the comment is found
again among those of its author. Prints the comment's address, or nothing where none was wanted. Tokens come from
the environment; see `github` and `gitlab` below for all that is read there. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

PER_PAGE = 100
PAGES_MAX = 100
"""More comments than anybody writes; only a server that never ends its pages has more."""
PATIENCE_S = 30
PAUSES_S = (1, 4)
"""Before a request that may be repeated is repeated."""
CHARACTERS_MAX = {"github": 65_000, "gitlab": 900_000}
CUT = "\n\nThe rest did not fit; see the saved plan.\n"


class Refused(Exception):
    """The service does not let this token write."""


class Service:
    """A service that keeps comments, and how it is asked."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self.base = base.rstrip("/")
        self.headers = {"User-Agent": "webhook-reconciler", "Content-Type": "application/json", **headers}

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """The answer to a request, repeated where that can do no harm and may help."""
        data = None if value is None else json.dumps(value).encode()
        for pause_s in (*PAUSES_S, None) if method != "POST" else (None,):
            request = urllib.request.Request(f"{self.base}{path}", data, self.headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                said = error.read(2_000).decode("utf-8", "replace")
                if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                    raise Refused(f"{method} {path}: HTTP {error.code} {said}") from error
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR or pause_s is None:
                    raise SystemExit(f"{method} {path}: HTTP {error.code} {said}") from error
            except OSError as error:
                if pause_s is None:
                    raise SystemExit(f"{method} {path}: {error}") from error
            time.sleep(pause_s)
        raise AssertionError

    def all(self, path: str) -> Any:
        """Every item of a list, page after page."""
        for page in range(1, PAGES_MAX + 1):
            items = self.call("GET", f"{path}?per_page={PER_PAGE}&page={page}")
            yield from items
            if len(items) < PER_PAGE:
                return


def github(body: str) -> str:
    """On the pull request of GITHUB_EVENT_PATH, or of PULL_REQUEST.

    GITHUB_TOKEN needs `pull-requests: write`. COMMENT_AUTHOR is the login that it writes as.
    """
    number = os.environ.get("PULL_REQUEST") or pull_request(os.environ["GITHUB_EVENT_PATH"])
    if not number.isdecimal():
        print("no pull request, no comment", file=sys.stderr)
        return ""
    headers = {
        "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    service = Service(os.environ.get("GITHUB_API_URL", "https://api.github.com"), headers)
    repository = f"/repos/{os.environ['GITHUB_REPOSITORY']}"
    author = os.environ.get("COMMENT_AUTHOR") or "github-actions[bot]"
    path = f"{repository}/issues/{number}/comments"
    found = (each for each in service.all(path) if (each.get("user") or {}).get("login") == author)
    existing = newest(found, body)
    if existing is None:
        return str(service.call("POST", path, {"body": body})["html_url"]) if is_wanted(body) else ""
    if existing["body"] == body:
        return str(existing["html_url"])
    return str(service.call("PATCH", f"{repository}/issues/comments/{existing['id']}", {"body": body})["html_url"])


def gitlab(body: str) -> str:
    """On the merge request of the pipeline. GITLAB_TOKEN needs the scope `api` (a project's access token has it)."""
    number = os.environ.get("CI_MERGE_REQUEST_IID", "")
    if not number.isdecimal():
        print("no merge request, no note", file=sys.stderr)
        return ""
    service = Service(os.environ["CI_API_V4_URL"], {"PRIVATE-TOKEN": os.environ["GITLAB_TOKEN"]})
    project = urllib.parse.quote(os.environ["CI_PROJECT_ID"], safe="")
    path = f"/projects/{project}/merge_requests/{number}/notes"
    author = service.call("GET", "/user")["id"]
    existing = newest((each for each in service.all(path) if each["author"]["id"] == author), body)
    address = f"{os.environ.get('CI_MERGE_REQUEST_PROJECT_URL', '')}/-/merge_requests/{number}#note_"
    if existing is None:
        return f"{address}{service.call('POST', path, {'body': body})['id']}" if is_wanted(body) else ""
    if existing["body"] != body:
        service.call("PUT", f"{path}/{existing['id']}", {"body": body})
    return f"{address}{existing['id']}"


def pull_request(event_path: str) -> str:
    """The number of the pull request that an event is about, or nothing."""
    event = json.loads(Path(event_path).read_text(encoding="utf-8"))
    return str((event.get("pull_request") or {}).get("number", ""))


def newest(comments: Any, body: str) -> Any:
    """The last of the comments that begin with the same marker."""
    marker = body.partition("\n")[0]
    return next((each for each in reversed(list(comments)) if (each["body"] or "").startswith(marker)), None)


def is_wanted(body: str) -> bool:
    """Whether it is worth a new comment: a plan that says nothing new only updates the one that is there."""
    says_nothing = body.partition("\n")[2].startswith("### ✅") and "\n#### " not in body
    return os.environ.get("COMMENT_ALWAYS") == "true" or not says_nothing


def named(body: str, name: str) -> str:
    """The comment of one of several plans, each with a marker and a title of its own."""
    marker, _, rest = body.partition("\n")
    if not name:
        return body
    safe = "".join(each if each.isalnum() or each in " ._/" else "_" for each in name)
    return f"{marker.replace(' -->', f' {safe} -->')}\n{rest.replace('Webhooks:', f'Webhooks of {safe}:', 1)}"


def main() -> int:
    """Write the comment; a token that may not is told of, and is no failure: the plan is in the job's summary."""
    kind, file = sys.argv[1:]
    body = named(Path(file).read_text(encoding="utf-8"), os.environ.get("PLAN_NAME", ""))
    limit = CHARACTERS_MAX[kind]
    if len(body) > limit:
        body = body[: limit - len(CUT)].rpartition("\n")[0] + CUT
    try:
        address = {"github": github, "gitlab": gitlab}[kind](body)
    except Refused as error:
        print(f"the comment could not be written; may the token write there? {error}", file=sys.stderr)
        return 3
    if address:
        print(address)
    return 0


if __name__ == "__main__":
    sys.exit(main())
