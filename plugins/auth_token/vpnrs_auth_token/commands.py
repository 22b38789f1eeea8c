"""`vpnrs token`: make, list, revoke and check tokens. Works on files; a running server sees the change by itself."""

from __future__ import annotations

import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

import click

from vpnrs_auth_token.config import DEFAULT_FILE
from vpnrs_auth_token.files import edit_file, read_file
from vpnrs_auth_token.live import LiveTokens
from vpnrs_auth_token.token import Token, TokenError, hash_token, new_token, parse_token
from vpnrs_auth_token.tokenfile import Entry, TokenFile, TokenFileError, check_name, format_expiry, parse_time
from vpnrs_core.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z
_file = click.option(
    "--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=Path(DEFAULT_FILE), show_default=True,
    help="The server's tokens file.",
)  # fmt: skip


@click.group()
def token() -> None:
    """Make, list, revoke and check authentication tokens."""


@token.command()
@click.option("--name", required=True, help="Whose token it is: the principal's name in events and status.")
@click.option("--expires", default="never", show_default=True, help="30d (s, m, h, d, w, y), 2030-12-31, or never.")
@_file
def new(name: str, expires: str, path: Path) -> None:
    """Add a token and print it, alone on standard output. It is shown this once: the file keeps only its hash."""
    check_name(name, "--name")
    until = parse_expiry(expires, time.time())
    made: list[Token] = []

    def add(tokens: TokenFile) -> TokenFile:
        fresh = new_token(secrets.token_bytes)
        while fresh.id in tokens.entries:
            fresh = new_token(secrets.token_bytes)
        made.append(fresh)
        return tokens.added(Entry(fresh.id, hash_token(fresh), name, until))

    edit_file(path, add, create=True)
    click.echo(f"Token {made[0].id} for {name}, expires: {format_expiry(until)}, added to {path}.", err=True)
    click.echo(made[0].text)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@_file
def list_(as_json: bool, path: Path) -> None:
    """List the tokens of a file: id, name, expiry, state."""
    rows = [_row(entry) for entry in read_file(path).entries.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max([4, *(len(row["name"]) for row in rows)])
    click.echo(f"{'ID':8}  {'NAME':{width}}  {'EXPIRES':20}  STATE")
    for row in rows:
        click.echo(f"{row['id']:8}  {row['name']:{width}}  {row['expires']:20}  {row['state']}")


@token.command()
@click.argument("token_id", metavar="ID", required=False)
@click.option("--name", help="Revoke every token of this name.")
@_file
def revoke(token_id: str | None, name: str | None, path: Path) -> None:
    """Take a token out of the file. A running server ends its sessions within a second or two."""
    if (token_id is None) == (name is None):
        raise ConfigError("vpnrs token revoke: give either the token's ID or --name; `vpnrs token list` shows both")
    gone: list[Entry] = []

    def remove(tokens: TokenFile) -> TokenFile:
        gone.extend(e for e in tokens.entries.values() if (e.name == name if name is not None else e.id == token_id))
        if not gone:
            # What was asked for is not repeated: a whole token may have been pasted in its place.
            what = "of that name" if name is not None else "with that ID"
            raise ConfigError(f"{path}: there is no token {what}; `vpnrs token list --file {path}` shows what there is")
        return tokens.without({entry.id for entry in gone})

    edit_file(path, remove)
    for entry in gone:
        click.echo(f"Revoked token {entry.id} of {entry.name}.")


@token.command()
@click.argument("credential", type=click.File("r"), required=False)
@_file
def check(credential: Any, path: Path) -> None:
    """Check the tokens file, and with CREDENTIAL (a client's token file, or - for stdin) that it is accepted."""
    tokens = LiveTokens(path)
    if credential is None:
        click.echo(f"{path}: no mistake, tokens: {len(tokens)}.")
        return
    source = str(credential.name)
    try:
        text = credential.read().strip()
        parse_token(text)
    except (TokenError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, TokenError) else "is not UTF-8 text"
        raise ConfigError(f"{source}: {why}") from None
    judged = tokens.judge(text, time.time())
    if isinstance(judged, str):
        raise ConfigError(f"{source}: not accepted by {path}: {judged}")
    click.echo(f"{source}: token of {judged.name}, expires: {format_expiry(judged.expires)}, accepted by {path}.")


def parse_expiry(text: str, wall: float) -> float | None:
    """`30d`, a date, a UTC time or `never` → POSIX seconds or None. Raises ConfigError, also for one that is past."""
    if match := re.fullmatch(r"([0-9]{1,9})([smhdwy])", text):
        until: float | None = int(wall) + int(match[1]) * _UNITS[match[2]]
    else:
        try:
            until = parse_time(text, "--expires")
        except TokenFileError:
            raise ConfigError(
                "--expires is not an expiry: write never, 30d (s, m, h, d, w, y), or a date in UTC"
            ) from None
    if until is not None and not wall < until <= _LATEST:
        raise ConfigError(f"--expires is {'past already' if until <= wall else 'later than the year 9999'}")
    return until


def _row(entry: Entry) -> dict[str, str]:
    state = "expired" if entry.expired(time.time()) else "valid"
    return {"id": entry.id, "name": entry.name, "expires": format_expiry(entry.expires), "state": state}
