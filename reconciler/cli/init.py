"""`reconcile init`: a first configuration to edit."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.command import command
from reconciler.cli.opening import write_whole
from reconciler.cli.options import PathType, format_options
from reconciler.cli.output import print_json, print_text
from reconciler.errors import UsageError

__all__ = ["FIRST_HOOKS", "init"]

SCHEMA_FILE = "hooks.schema.json"
IGNORED = "state/"

FIRST_HOOKS = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
#
# Webhooks of our bots. `reconcile --plan` shows what a change does, `reconcile` applies it,
# `reconcile types` lists the webhook types and `reconcile types TYPE` what a template may use.
version: 1

bots:
  support-bot:                      # the handle: stable, part of every address
    id: support-bot                 # the platform's id of the bot
    name: Support bot               # what receivers read in payloads

    webhooks:
      new-conversation:             # its address: support-bot/new-conversation
        type: conversation.started
        description: Tells the CRM about every new conversation.
        url: https://crm.example.com/hooks/{{{{conversation.channelType}}}}
        enabled: false              # true once the URL is yours: from then on live events are sent

      # An alert when a person is asked for. What is left out keeps its default.
      # escalation:
      #   type: conversation.escalated
      #   url: https://chat.example.com/alerts
      #   enabled: true
      #   custom_payload:
      #     enabled: true
      #     headers: {{Authorization: "Bearer ${{env:CHAT_TOKEN}}"}}
      #     body: |
      #       {{"text": "{{{{conversation.botName}}}}: {{{{userEmail}}}} asks for a person"}}
"""


@command("init", examples=("reconcile init", "reconcile init ops/webhooks && cd ops/webhooks && reconcile --plan"))
@click.argument("folder", metavar="[DIR]", default=".", type=PathType(file_okay=False))
@format_options("text", "json")
def init(folder: str, format_: str) -> None:
    """Write a first hooks.yaml, the schema that editors complete from, and a .gitignore for the state.

    Never overwrites a configuration.
    """
    from reconciler.config.schema import schema_text

    home = Path(folder)
    hooks = home / "hooks.yaml"
    for existing in (hooks, home / "hooks"):
        if existing.exists():
            raise UsageError(f"{existing} exists already; `reconcile validate` checks it")
    home.mkdir(parents=True, exist_ok=True)
    write_whole(str(home / SCHEMA_FILE), schema_text(SCHEMA_FILE).encode("utf-8"))
    written = [hooks, home / SCHEMA_FILE]
    if _ignore_state(home / ".gitignore"):
        written.append(home / ".gitignore")
    write_whole(str(hooks), FIRST_HOOKS.encode("utf-8"))
    if format_ == "json":
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        print_text(f"wrote {path}")
    there = "" if folder == "." else f"cd {folder} && "
    print_text(f"next: edit {hooks.name}, then: {there}reconcile --plan")


def _ignore_state(path: Path) -> bool:
    """Keep the state, whose folder holds key and token, out of git; whether the file had to change."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in text.splitlines()):
        return False
    separator = "" if not text or text.endswith("\n") else "\n"
    write_whole(str(path), f"{text}{separator}{IGNORED}\n".encode())
    return True
