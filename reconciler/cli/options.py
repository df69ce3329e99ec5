"""The options that several commands share, each spelled and explained once.

An option given before the command (`reconcile --store URL hooks`) counts for the command, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from reconciler.cli.complete import AddressType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEFAULT_SERVER",
    "DEFAULT_STORE",
    "PathType",
    "address_argument",
    "allow_options",
    "check_public_url",
    "files_option",
    "format_options",
    "inherit",
    "key_file_option",
    "public_url_option",
    "refuse_foreign_options",
    "server_option",
    "store_option",
    "yes_option",
]

DEFAULT_STORE = "sqlite:state/reconciler.db"
DEFAULT_SERVER = "http://127.0.0.1:8080"

_PUBLIC_URL = re.compile(r"(?i)https?://[^\s/?#@]+(?:/[^\s?#]*)?")

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


class PathType(click.Path):
    """A path that is not empty: `-f "$FILES"` where the variable is unset means no file, and not this folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty; is a variable unset?", param, ctx)
        return super().convert(value, param, ctx)


def inherit(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The value given to the command, else the one given before it, else the environment's or the default."""
    root = ctx.find_root()
    name = parameter.name
    assert name is not None
    if root is ctx or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return value
    return root.params[name] if root.get_parameter_source(name) is ParameterSource.COMMANDLINE else value


def refuse_foreign_options(ctx: click.Context) -> None:
    """Refuse options that stand before a command which does not take them: silence would mislead."""
    assert isinstance(ctx.command, click.Group)
    found = ctx.command.get_command(ctx, ctx.invoked_subcommand or "")
    nested = isinstance(found, click.Group)
    taken = {parameter.name for parameter in found.params} if found else set()
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and not nested and parameter.name not in taken:
            raise click.UsageError(
                f"{parameter.opts[-1]} does not belong to `reconcile {ctx.invoked_subcommand}`;"
                f" see `reconcile {ctx.invoked_subcommand} -h`",
                ctx=ctx,
            )


files_option = click.option(
    "-f",
    "--file",
    "files",
    metavar="PATH",
    multiple=True,
    type=PathType(),
    callback=inherit,
    help="A YAML file or a folder of them; repeatable. [default: hooks.yaml, else hooks/]",
)

store_option = click.option(
    "--store",
    metavar="URL",
    envvar="RECONCILER_STORE",
    default=DEFAULT_STORE,
    show_default=True,
    show_envvar=True,
    callback=inherit,
    help="Where state, queue and log are kept.",
)

key_file_option = click.option(
    "--key-file",
    metavar="PATH",
    type=PathType(dir_okay=False),
    callback=inherit,
    help="The file with the key that secrets are sealed under. [default: RECONCILER_KEY, else `key` beside the"
    " database]",
)

server_option = click.option(
    "--server",
    metavar="URL",
    envvar="RECONCILER_SERVER",
    default=DEFAULT_SERVER,
    show_default=True,
    show_envvar=True,
    callback=inherit,
    help="The daemon to talk to; its token comes from RECONCILER_TOKEN or the file `token` beside the database.",
)


def check_public_url(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """An address that a path can be put behind: that a shared URL leads nowhere is noticed late."""
    if value is not None and not _PUBLIC_URL.fullmatch(value):
        raise click.BadParameter("write the daemon's address as https://hooks.example.com", ctx=ctx, param=parameter)
    return value


public_url_option = click.option(
    "--public-url",
    metavar="URL",
    envvar="RECONCILER_PUBLIC_URL",
    default=DEFAULT_SERVER,
    show_default=True,
    show_envvar=True,
    callback=check_public_url,
    help="The address under which callers reach the daemon.",
)

yes_option = click.option("-y", "--yes", is_flag=True, callback=inherit, help="Do not ask.")


def allow_options(command: Decorated) -> Decorated:
    """`--allow-delete ADDRESS` and `--allow-delete-all`: how a person passes the guards."""
    command = click.option(
        "--allow-delete-all",
        is_flag=True,
        callback=inherit,
        help="Pass every guard but that of `protected: true`.",
    )(command)
    return click.option(
        "--allow-delete",
        metavar="ADDRESS",
        multiple=True,
        type=AddressType(),
        callback=inherit,
        help="Pass all guards of this webhook; repeatable.",
    )(command)


def format_options(*choices: str) -> Callable[[Decorated], Decorated]:
    """`--format` with the first of `choices` as default, and `--json` where that is one of them."""

    def decorate(command: Decorated) -> Decorated:
        command = click.option(
            "--format",
            "format_",
            type=click.Choice(choices),
            default=choices[0],
            show_default=True,
            callback=_resolve_format,
            help="How to print the result.",
        )(command)
        return click.option(
            "--json", "json_", is_flag=True, is_eager=True, expose_value=False, help="The same as --format json."
        )(command)

    return decorate


def _resolve_format(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    assert parameter.name is not None
    chosen = inherit(ctx, parameter, value)
    if not (_is_given(ctx, "json_") or _is_given(ctx.find_root(), "json_")):
        return str(parameter.type.convert(chosen, parameter, ctx))
    if _is_given(ctx, parameter.name) and value != "json":
        raise click.UsageError(f"--json and --format {value} contradict each other", ctx=ctx)
    return "json"


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def address_argument(command: Decorated) -> Decorated:
    """`ADDRESS`, a webhook's `bot/handle`, completed from the store."""
    return click.argument("address", type=AddressType())(command)
