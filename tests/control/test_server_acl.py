"""Every user on a real server: what its rows allow it may do, and nothing else, on any key that there is.

The documentation's table is the code's: it is compared row by row.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from arbkube.control.acl import BUS, CONTROL, Grant, Table, User, write_aclfile
from arbkube.control.credentials import FileCredentials, make_credentials, password_digest
from tests.conftest import ROOT
from tests.control.server import ControlServer

KEYS = {
    "control": [
        *("epoch", "term", "capacities", "halts", "halts:ids", "head:strategy-x", "limits:x", "revision:strategy-x"),
        *(f"{kind}:{role}-x" for kind in ("ack", "status") for role in ("executor", "detector", "feed")),
        *("ack:recorder", "status:simulator", "holder:x", "pool:x", "tickets", "waiting:x", "other"),
    ],
    "bus": ["frames:x", "markets:x", "sightings:x", "balances:x", "other"],
}
"""One of every kind that there is, and one that there is not."""
KEYED: dict[str, tuple[str, ...]] = {
    "append": ("x",),
    "del": (),
    "expire": ("100",),
    "get": (),
    "getdel": (),
    "hdel": ("x",),
    "hget": ("x",),
    "hgetall": (),
    "hkeys": (),
    "hset": ("x", "y"),
    "hsetnx": ("x", "y"),
    "incr": (),
    "lpop": (),
    "lpush": ("x",),
    "lrange": ("0", "-1"),
    "lrem": ("0", "x"),
    "lset": ("0", "x"),
    "ltrim": ("0", "0"),
    "mget": (),
    "persist": (),
    "rename": ("other2",),
    "rpush": ("x",),
    "sadd": ("x",),
    "set": ("x",),
    "spop": (),
    "srem": ("x",),
    "unlink": (),
    "xadd": ("*", "m", "x"),
    "xdel": ("1-1",),
    "xrange": ("-", "+"),
    "xrevrange": ("+", "-"),
    "xtrim": ("maxlen", "0"),
}
KEYLESS: dict[str, tuple[str, ...]] = {
    "acl": ("list",),
    "client": ("list",),
    "config": ("get", "dir"),
    "dbsize": (),
    "echo": ("x",),
    "flushall": (),
    "flushdb": (),
    "function": ("flush",),
    "info": ("server",),
    "keys": ("*",),
    "ping": (),
    "replicaof": ("no", "one"),
    "save": (),
    "scan": ("0",),
    "script": ("flush",),
    "shutdown": ("nosave", "now"),
    "slowlog": ("get",),
    "swapdb": ("0", "1"),
    "time": (),
}
ONCE = Retry(NoBackoff(), 0)
CHANNELS = ("changed", "acked", "other")
SERVERS: dict[str, Table] = {"control": CONTROL, "bus": BUS}


class Servers:
    """Both servers' users, each on a server of its own that only its test uses."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.server = ControlServer(folder)
        write_aclfile(folder / "users.acl", table, credentials=self.server.credentials, default="off")
        self.server.admin = redis.Redis(
            unix_socket_path=f"{folder}/s", credential_provider=FileCredentials(self.server.credentials, User.OPERATOR)
        )
        self.server.start()

    def client(self, user: User) -> redis.Redis:
        login = FileCredentials(self.server.credentials, user)
        return redis.Redis(unix_socket_path=f"{self.server.folder}/s", credential_provider=login, protocol=2, retry=ONCE)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Servers]]:
    with tempfile.TemporaryDirectory(prefix="arb-") as folder:
        made = {}
        for name, table in SERVERS.items():
            (Path(folder) / name).mkdir()
            made[name] = Servers(Path(folder) / name, table)
        yield made
        for one in made.values():
            one.server.kill()


def allowed(grants: tuple[Grant, ...], command: str, key: str | None = None, channel: str | None = None) -> bool:
    """What the table says."""
    return any(
        command in grant.commands
        and (key is None or any(fnmatchcase(key, pattern) for pattern in grant.keys))
        and (channel is None or channel in grant.channels)
        for grant in grants
    )


def permitted(client: redis.Redis, *words: str) -> bool:
    """What the server says; that the command makes no sense is not what was asked."""
    try:
        client.execute_command(*words)
    except NoPermissionError:
        return False
    except ResponseError:
        pass
    return True


@pytest.mark.parametrize("user", User)
@pytest.mark.parametrize("name", SERVERS)
def test_a_user_may_do_what_its_rows_say_and_nothing_else(servers: dict[str, Servers], name: str, user: User) -> None:
    grants, wrong, granted = SERVERS[name][user], [], 0
    with servers[name].client(user) as client:
        for key in KEYS[name]:
            for command, words in KEYED.items():
                expected = allowed(grants, command, key)
                granted += expected
                if permitted(client, command, key, *words) != expected:
                    wrong.append((command, key))
            for command in ("eval", "eval_ro"):
                expected = allowed(grants, command, key)
                if permitted(client, command, "return 1", "1", key) != expected:
                    wrong.append((command, key))
            expected = allowed(grants, "xread", key)
            granted += expected
            if permitted(client, "xread", "streams", key, "0") != expected:
                wrong.append(("xread", key))
        for command, words in KEYLESS.items():
            if permitted(client, command, *words) != allowed(grants, command):
                wrong.append((command, ""))
        for channel in CHANNELS:
            if permitted(client, "publish", channel, "x") != allowed(grants, "publish", channel=channel):
                wrong.append(("publish", channel))
            with client.pubsub() as listener:
                try:
                    listener.subscribe(channel)
                    listener.parse_response()
                except NoPermissionError:
                    heard = False
                else:
                    heard = True
            if heard != allowed(grants, "subscribe", channel=channel):
                wrong.append(("subscribe", channel))
    assert not wrong
    assert granted or name == "bus", "somebody who may do nothing"


@pytest.mark.parametrize("user", User)
def test_no_script_goes_around_the_rows(servers: dict[str, Servers], user: User) -> None:
    """Also where it does not say which keys it touches."""
    grants = CONTROL[user]
    with servers["control"].client(user) as client:
        for command in ("eval", "eval_ro"):
            if not allowed(grants, command):
                continue
            for inner in ("ltrim", "del", "set", "get", "lrange", "rpush"):
                text = ", ".join(f"'{word}'" for word in (inner, "halts", *KEYED[inner]))
                refused = ""
                try:
                    client.execute_command(command, f"return redis.call({text})", "0")
                except ResponseError as error:
                    refused = str(error)
                said_no = "permission" in refused.lower() or "NOPERM" in refused or "acl" in refused.lower()
                assert said_no == (not allowed(grants, inner, "halts")), (command, inner, refused)


def test_the_log_of_halts_can_only_grow() -> None:
    """Nobody of the product has a command that shortens or overwrites it."""
    safe = {"eval", "eval_ro", "get", "hget", "hkeys", "info", "keys", "lrange", "mget", "publish", "rpush", "sadd"}
    for user, grants in CONTROL.items():
        for grant in grants:
            if any(fnmatchcase(key, pattern) for key in ("halts", "halts:ids") for pattern in grant.keys):
                assert set(grant.commands) <= safe, user
    writers = {user for user in User if allowed(CONTROL[user], "set", "head:x")}
    assert writers == {User.OPERATOR}
    assert {user for user in User if allowed(CONTROL[user], "rpush", "halts")} == {User.OPERATOR, User.EXECUTOR, User.PERSON}
    assert not any(allowed(BUS[user], "xadd", key) for user in (User.OPERATOR, User.PERSON) for key in KEYS["bus"])
    assert [command for grant in CONTROL[User.FEED] for command in grant.commands if grant.keys == ("halts",)] == []


@pytest.mark.parametrize("name", SERVERS)
def test_nobody_else_gets_in(servers: dict[str, Servers], name: str, tmp_path: Path) -> None:
    path = f"{servers[name].server.folder}/s"
    with redis.Redis(unix_socket_path=path, protocol=2, retry=ONCE) as anonymous, pytest.raises(AuthenticationError):
        anonymous.get("epoch")
    make_credentials(tmp_path / "wrong", User)
    for user in User:
        login = FileCredentials(tmp_path / "wrong", user)
        liar = redis.Redis(unix_socket_path=path, credential_provider=login, protocol=2, retry=ONCE)
        with liar, pytest.raises(AuthenticationError) as said:
            liar.ping()
        assert login.get_credentials()[1] not in str(said.value) + repr(said.value) + repr(liar)


def test_a_changed_password_needs_no_new_client(servers: dict[str, Servers], tmp_path: Path) -> None:
    make_credentials(tmp_path, [User.PERSON])
    path = f"{servers['bus'].server.folder}/s"
    login = FileCredentials(tmp_path, User.PERSON)
    with redis.Redis(unix_socket_path=path, credential_provider=login, protocol=2, retry=ONCE) as client:
        with pytest.raises(AuthenticationError):
            client.ping()
        right = servers["bus"].server.credentials / User.PERSON
        (tmp_path / User.PERSON).write_text(right.read_text())
        assert client.ping()


def test_credentials_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "credentials"
    make_credentials(folder, User)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert first.keys() == {user.value for user in User}
    assert len(set(first.values())) == len(User)
    assert all(len(password) >= 43 for password in first.values()), "256 bits"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    (folder / "feed").unlink()
    (folder / ".person.new").write_text("left by a crash")
    make_credentials(folder, User)
    assert {name for name, password in first.items() if (folder / name).read_text() == password} == first.keys() - {"feed"}
    with pytest.raises(FileNotFoundError):
        FileCredentials(folder, "nobody").get_credentials()


def test_the_file_of_users_holds_digests_only(tmp_path: Path) -> None:
    make_credentials(tmp_path / "credentials", User)
    write_aclfile(tmp_path / "users.acl", CONTROL, credentials=tmp_path / "credentials")
    text = (tmp_path / "users.acl").read_text()
    assert stat.S_IMODE((tmp_path / "users.acl").stat().st_mode) == 0o600
    assert text.startswith("user default off\n")
    for user in User:
        assert FileCredentials(tmp_path / "credentials", user).get_credentials()[1] not in text
        assert f"user {user} on #{password_digest(tmp_path / 'credentials', user)} " in text


def row(user: User, grant: Grant) -> str:
    """A row of the documentation's table."""
    cells = (grant.commands, grant.keys, grant.channels)
    words = (" ".join(f"`{word}`" for word in cell) or "–" for cell in cells)
    return f"| `{user}` | {' | '.join(words)} |"


@pytest.mark.parametrize("name", SERVERS)
def test_the_documentation_says_the_same(name: str) -> None:
    text = (ROOT / "docs" / "control-server.md").read_text()
    section = text.split(f"### Users of the {name} server", 1)[1].split("\n#", 1)[0]
    documented = [line for line in section.splitlines() if line.startswith("| `")]
    assert documented == [row(user, grant) for user, grants in SERVERS[name].items() for grant in grants]
