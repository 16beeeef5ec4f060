"""Who may do what on the two servers: one user a role, each with commands on keys and channels, and nothing else.

For: one table, the file of users that a server reads (`--aclfile`), and what the documentation shows. May not: hold a password,
only its digest.

A row is a selector of the server's access control (Redis 7, Valkey 8): its commands are allowed on its keys and channels, and
on no others. Only the operator's rows can replace or delete what another role wrote, and none at all can shorten the log of
halts: it is a list, and RPUSH only ever adds. Commands inside a script are held against the same rows.

A user is a role, not a pod: `ack:executor*` belongs to every executor, and names of pods begin with their role. KEYS, SCAN and
INFO tell those who have them the names of keys and the server's settings, but no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from arbkube.control.credentials import password_digest, write_private


class User(StrEnum):
    """Who connects. A pod's user is its role; the credentials' files have these names."""

    OPERATOR = "operator"
    """The one writer: the operator, or the supervisor of `arb up`."""
    EXECUTOR = "executor"
    DETECTOR = "detector"
    FEED = "feed"
    RECORDER = "recorder"
    SIMULATOR = "simulator"
    PERSON = "person"
    """Whoever types `arb …`."""


class Grant(msgspec.Struct, frozen=True):
    """Commands, and the keys and channels they may be used on."""

    commands: tuple[str, ...]
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def __str__(self) -> str:
        rules = [f"+{command}" for command in self.commands]
        return " ".join([*rules, *(f"~{key}" for key in self.keys), *(f"&{channel}" for channel in self.channels)])


Table = Mapping[User, tuple[Grant, ...]]

_CONNECTION = Grant(("client|setinfo", "ping"))
_POD = Grant(("discard", "echo", "exec", "info", "multi"))
_DOCUMENTS = Grant(("get", "hget", "mget"), ("epoch", "head:*", "limits:*", "revision:*"))
_HEAR = Grant(("subscribe", "unsubscribe"), channels=("changed",))
_TELL = Grant(("publish",), channels=("acked",))
_APPEND = Grant(("eval", "publish", "rpush", "sadd"), ("halts", "halts:ids"), ("changed",))
_READ_LOG = Grant(("lrange",), ("halts",))
_CAPACITIES = Grant(("get",), ("capacities",))
_RESERVE = Grant(
    ("del", "eval", "get", "hdel", "hgetall", "hset", "incr", "info", "set", "time"),
    ("holder:*", "pool:*", "tickets", "waiting:*"),
)
_LOOK = Grant(("eval_ro", "get", "hget", "hkeys", "info", "keys", "lrange", "mget"), ("*",))
_LISTEN = Grant(("subscribe", "unsubscribe"), channels=("acked", "changed"))


def _pod(user: User, *more: Grant) -> tuple[Grant, ...]:
    own = Grant(("set",), (f"ack:{user}*", f"status:{user}*"))
    return _CONNECTION, _POD, _DOCUMENTS, _HEAR, _TELL, own, *more


CONTROL: Table = {
    User.OPERATOR: (
        _CONNECTION,
        _LOOK,
        _LISTEN,
        _APPEND,
        Grant(
            ("del", "eval", "get", "hdel", "hsetnx", "info", "publish", "set"),
            ("term", "epoch", "capacities", "head:*", "limits:*", "revision:*"),
            ("changed",),
        ),
        Grant(("del", "scan"), ("status:*",)),
    ),
    User.EXECUTOR: _pod(User.EXECUTOR, _READ_LOG, _APPEND, _CAPACITIES, _RESERVE),
    User.DETECTOR: _pod(User.DETECTOR),
    User.FEED: _pod(User.FEED),
    User.RECORDER: _pod(User.RECORDER),
    User.SIMULATOR: _pod(User.SIMULATOR),
    User.PERSON: (_CONNECTION, _LOOK, _LISTEN, _APPEND),
}
"""The control server."""

_BUS_POD = (_CONNECTION, Grant(("time",)))


def _reads(*topics: str) -> Grant:
    return Grant(("xread", "xrevrange"), topics)


def _writes(*topics: str) -> Grant:
    return Grant(("xadd",), topics)


BUS: Table = {
    User.OPERATOR: (_CONNECTION, Grant(("info",))),
    User.EXECUTOR: (*_BUS_POD, _reads("frames:*", "markets:*", "sightings:*"), _writes("balances:*")),
    User.DETECTOR: (*_BUS_POD, _reads("balances:*", "frames:*", "markets:*"), _writes("sightings:*")),
    User.FEED: (*_BUS_POD, _writes("frames:*", "markets:*")),
    User.RECORDER: (*_BUS_POD, _reads("frames:*", "sightings:*")),
    User.SIMULATOR: _BUS_POD,
    User.PERSON: (*_BUS_POD, _reads("*")),
}
"""The bus server."""


def user_line(user: User, grants: tuple[Grant, ...], digest: str) -> str:
    """One line of a file of users: nothing is allowed but what stands in a selector."""
    return " ".join([f"user {user} on #{digest} resetkeys resetchannels -@all", *(f"({grant})" for grant in grants)])


def write_aclfile(path: Path, table: Table, *, credentials: Path, default: str = "off") -> None:
    """The file of users of one server, for `--aclfile`. Raises OSError, also where a user has no password."""
    lines = [f"user default {default}"]
    lines += [user_line(user, grants, password_digest(credentials, user)) for user, grants in table.items()]
    write_private(path, "\n".join(lines) + "\n")
