"""The two kinds of nodes of the command line: a command with examples, and a group that imports on demand."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Command", "Entry", "LazyGroup", "command"]

_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Entry(NamedTuple):
    """A command that is not imported yet: where it lives, the section of the help it stands in, what it does."""

    section: str
    target: str
    summary: str


class _Checked(click.Command):
    """What both have in common: an option without its value is named, with the help that explains it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
            if not ctx.resilient_parsing:
                self._refuse_swallowed(ctx)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise
        return rest

    def _refuse_swallowed(self, ctx: click.Context) -> None:
        """Refuse an option as another one's value, which click allows: a file called `--json` is never meant."""
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        for option in options:
            name = option.name or ""
            if option.is_flag or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                continue
            value = ctx.params.get(name)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, str) and each.partition("=")[0] in names:
                    message = f"Option {option.opts[0]!r} requires an argument, and {each!r} is an option itself"
                    raise click.BadOptionUsage(name, message, ctx=ctx)


class Command(_Checked):
    """A command whose help ends with examples that can be pasted."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", _SETTINGS)
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def command(name: str, *, examples: Sequence[str] = ()) -> Callable[[Callable[..., Any]], click.Command]:
    """A decorator that makes a function a `Command`; its docstring is the help."""
    return click.command(name, cls=Command, examples=examples)


class LazyGroup(_Checked, click.Group):
    """A group that knows its commands by name and imports the module of the one that is called."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", _SETTINGS)
        super().__init__(*args, **kwargs)
        self.entries = dict(entries)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.entries and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(self._no_such_command(name, ctx.command_path))
        return super().resolve_command(ctx, args)

    def _no_such_command(self, name: str, path: str) -> str:
        near = difflib.get_close_matches(name, self.entries, n=1)
        if near:
            return f"no command `{name}`; did you mean `{near[0]}`?"
        if "/" in name or name.endswith((".yaml", ".yml")):
            return f"no command `{name}`; to read that file, give it with -f"
        return f"no command `{name}`; `{path} -h` lists them"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.entries.items():
            sections.setdefault(entry.section, []).append((name, entry.summary))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """The section of examples, lines kept as they are."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
