"""Bad input of every kind: one clear error that names cause and remedy, a documented exit code, and nothing lost."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from arbkube.cli.common.errors import ExitCode
from tests.cli.running import QUICKSTART, arb

GARBAGE = bytes(range(256)) * 40
HEADER = {
    "format": "arbkube-recording/1",
    "feed": "kraken",
    "venue": "kraken",
    "market": "Spot",
    "natives": ["BTC/USDT"],
}


def refused(code: ExitCode, *arguments: object, says: str = "", stdin: str = "") -> str:
    """Run it; the message, which must be one error with a remedy and no traceback."""
    result = arb(*arguments, stdin=stdin)
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stdout == ""
    assert result.stderr.count("error: ") == 1, result.stderr
    assert result.stderr.count("remedy: ") == 1, result.stderr
    assert says in result.stderr, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.yaml", b"", "empty.yaml"),
        ("comment.yaml", b"# nothing\n---\n---\n", "comment.yaml"),
        ("garbage.yaml", GARBAGE, "garbage.yaml"),
        ("tab.yaml", b"kind:\n\t- x", "tab.yaml"),
        ("scalar.yaml", b"42", "scalar.yaml"),
        ("half.json", b'{"kind": "VenueFeed", ', "half.json"),
        ("code.yaml", b"!!python/object/apply:os.system ['touch owned']", "code.yaml"),
    ],
)
def test_manifests(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    for command in ("up", "plan"):
        refused(ExitCode.INVALID, command, "-f", file, "--state", tmp_path / "state", says=says)
    assert not (tmp_path / "state").exists(), "refused before anything was made"
    validated = arb("validate", "-f", file)
    assert validated.returncode == ExitCode.INVALID
    assert says in validated.stdout + validated.stderr
    assert "Traceback" not in validated.stderr


def test_every_violation_at_once_with_path_and_remedy(tmp_path: Path) -> None:
    for file in QUICKSTART.glob("*.yaml"):
        text = file.read_text().replace("enterEdge: 1bps", "enterEdge: 1%").replace("venue: kraken", "venue: Kraken")
        (tmp_path / file.name).write_text(text)
    message = refused(ExitCode.INVALID, "up", "-f", tmp_path, "--state", tmp_path / "state")
    for said in ("feeds.yaml", "strategies.yaml", "spec.venue", "spec.detection.enterEdge"):
        assert said in message
    found = json.loads(arb("validate", "-f", tmp_path, "-o", "json").stdout)
    assert not found["valid"]
    assert len(found["violations"]) >= 3


@pytest.mark.parametrize("missing", ["absent", "folder"])
def test_no_manifests(tmp_path: Path, missing: str) -> None:
    (tmp_path / "folder").mkdir()
    refused(ExitCode.INVALID, "up", "-f", tmp_path / missing, says=missing)
    refused(ExitCode.INVALID, "validate", "-f", tmp_path / missing, says=missing)


def test_nothing_to_run(tmp_path: Path) -> None:
    (tmp_path / "risk.yaml").write_text((QUICKSTART / "risk.yaml").read_text())
    refused(ExitCode.INVALID, "up", "-f", tmp_path, "--state", tmp_path / "state", says="nothing to run")


@pytest.mark.parametrize("kind", ["up", "validate"])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """A link into nowhere: unreadable for root as well."""
    (tmp_path / "feed.yaml").symlink_to(tmp_path / "nowhere")
    refused(ExitCode.INVALID, kind, "-f", tmp_path / "feed.yaml", says="feed.yaml")


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "-f", QUICKSTART, "--for", "soon"),
        ("up", "-f", QUICKSTART, "--for", "-5s"),
        ("up", "-f", QUICKSTART, "--for", "0s"),
        ("up", "-f", QUICKSTART, "--for", "5"),
        ("up", "-f", QUICKSTART, "--report", "/nowhere/at/all/r.json"),
        ("up", "-f", QUICKSTART, "--report", "/"),
        ("record", "-f", QUICKSTART, "--feed", "nobody", "--out", "never.gz"),
        ("record", "-f", QUICKSTART, "--feed", "kraken", "--out", "/nowhere/x.gz"),
        ("replay", "/etc/hostname", "--report", "/"),
    ],
)
def test_wrong_values(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    refused(ExitCode.USAGE, *arguments, *(("--state", tmp_path / "state") if arguments[0] != "replay" else ()))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("up",),
        ("fly",),
        ("up", "-f", QUICKSTART, "--frobnicate"),
        ("trades", "--limit", "0"),
        ("trades", "--limit", "many"),
        ("status", "-o", "xml"),
        ("replay",),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...]) -> None:
    result = arb(*arguments)
    assert result.returncode == ExitCode.USAGE
    assert "Usage: arb" in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_runs_here(tmp_path: Path) -> None:
    for command in ("status", "trades", "opportunities"):
        refused(ExitCode.NOT_RUNNING, command, "--state", tmp_path)
    record = ("record", "-f", QUICKSTART, "--feed", "kraken", "--out", tmp_path / "k.gz", "--state", tmp_path)
    refused(ExitCode.NOT_RUNNING, *record, says="simulated")
    assert not (tmp_path / "k.gz").exists()


def test_a_state_directory_that_cannot_be_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for state in (file, file / "below"):
        refused(ExitCode.ENVIRONMENT, "up", "-f", QUICKSTART, "--for", "1s", "--state", state, says=str(state))
    assert file.read_text() == "mine"


def test_a_journal_that_is_none(tmp_path: Path) -> None:
    """Somebody else's file under a journal's name is told, not touched."""
    journal = tmp_path / "journal"
    journal.mkdir()
    for name in ("cross.sqlite", "recorder.sqlite"):
        (journal / name).write_bytes(GARBAGE)
    for command in ("trades", "opportunities"):
        refused(ExitCode.ENVIRONMENT, command, "--state", tmp_path, says=".sqlite")
    assert (journal / "cross.sqlite").read_bytes() == GARBAGE


def recording(path: Path, *lines: bytes, cut: int | None = None) -> Path:
    content = gzip.compress(json.dumps(HEADER, separators=(",", ":")).encode() + b"\n" + b"\n".join(lines))
    path.write_bytes(content[:cut])
    return path


@pytest.mark.parametrize("kind", ["absent", "empty", "garbage", "text", "truncated", "header", "line", "folder", "gzip"])
def test_recordings(tmp_path: Path, kind: str) -> None:
    """And a report from before stays what it was."""
    file = tmp_path / "recording"
    opened = b"1700000000000000000 0 opened wss://x"
    match kind:
        case "empty":
            file.write_bytes(b"")
        case "garbage":
            file.write_bytes(GARBAGE)
        case "text":
            file.write_text("dear diary\n")
        case "truncated":
            recording(
                file, *(f"17000000000000000{i:02} 0 received {os.urandom(40).hex()}".encode() for i in range(99)), cut=-900
            )
        case "header":
            file.write_bytes(b'{"format": "arbkube-recording/9"}\n')
        case "line":
            recording(file, opened, b"yesterday 0 received x")
        case "folder":
            file.mkdir()
        case "gzip":
            file.write_bytes(b"\x1f\x8b" + GARBAGE)
    report = tmp_path / "report.json"
    report.write_text("precious")
    refused(ExitCode.INVALID, "replay", file, "--report", report, says="recording")
    assert report.read_text() == "precious"


@pytest.mark.parametrize("content", [b"", GARBAGE, b"[]", b'{"instruments": 3}'])
def test_instruments_of_a_replay(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rules.json").write_bytes(content)
    refused(ExitCode.INVALID, "replay", recording(tmp_path / "r"), "--instruments", tmp_path / "rules.json", says="rules.json")


def test_a_pod_by_hand() -> None:
    assert arb("pod", "feed", "--help").returncode == 0
    assert arb("pod", "juggler", "--help").returncode == 2
