"""Checkpoints by hub id: the real huggingface_hub client against a hub on the loopback interface."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from export_testing import check_package, read_manifest
from hub_server import HubServer

from checkpoints import make_checkpoint
from voxtral_edge import hub
from voxtral_edge.errors import DeviceError, UsageError

REPOSITORY = "someone/voxtral-test"
SMALL = {"config.json", "tekken.json", "processor_config.json", "params.json"}

# The client reads its endpoint from the environment when it is imported, so every call has its own process.
_SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import source_export
from pathlib import Path
from voxtral_edge import hub
from voxtral_edge.errors import VoxtralEdgeError
options = json.loads(sys.argv[3])
said = []
try:
    found = hub.download_checkpoint(sys.argv[2], notify=said.append, **options)
    print(json.dumps({"path": str(found.path), "revision": found.revision, "layout": found.layout,
                      "files": sorted(entry.name for entry in found.path.iterdir()), "said": said}))
except VoxtralEdgeError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("hub") / "checkpoint", "gqa8")


@pytest.fixture
def server(checkpoint: Path):
    files = {entry.name: entry.read_bytes() for entry in checkpoint.iterdir()}
    files["README.md"] = b"nobody needs this"
    running = HubServer(REPOSITORY, files)
    yield running
    running.close()


def environment(server: HubServer, cache: Path, **more: str) -> dict[str, str]:
    keep = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    return {
        **keep,
        "HF_ENDPOINT": server.url,
        "HF_HUB_CACHE": str(cache),
        "HF_HOME": str(cache / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **more,
    }


def download(
    server: HubServer, cache: Path, name: str = REPOSITORY, env: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent), name, json.dumps(options)],
        env=environment(server, cache, **(env or {})),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_only_one_layout_is_downloaded_at_a_pinned_commit(server, tmp_path):
    found = download(server, tmp_path)
    assert found["revision"] == server.commit
    assert found["layout"] == "hf"
    assert set(found["files"]) == SMALL | {"model.safetensors"}
    assert "consolidated.safetensors" not in server.downloads() and "README.md" not in server.downloads()
    assert len(found["said"]) == 1 and "5 files" in found["said"][0]
    # Again: nothing is transferred.
    server.requests.clear()
    again = download(server, tmp_path)
    assert again["path"] == found["path"] and again["said"] == []
    assert server.downloads() == []


def test_mistral_layout_on_request_and_when_it_is_the_only_one(server, tmp_path):
    expected = {"params.json", "tekken.json", "consolidated.safetensors"}
    assert set(download(server, tmp_path / "asked", layout="mistral")["files"]) == expected
    del server.files["model.safetensors"]
    assert set(download(server, tmp_path / "only")["files"]) == expected


def test_the_layout_that_is_already_here_is_used(server, tmp_path):
    download(server, tmp_path, layout="mistral")
    assert download(server, tmp_path)["layout"] == "mistral"


def test_revisions(server, tmp_path):
    for name in (f"{REPOSITORY}@v1", f"{REPOSITORY}@{server.commit}"):
        assert download(server, tmp_path, name)["revision"] == server.commit
    assert download(server, tmp_path, revision="v1")["revision"] == server.commit
    failed = download(server, tmp_path, f"{REPOSITORY}@v2")
    assert failed["error"] == "UsageError" and "no revision 'v2'" in failed["message"]


def test_shards(server, tmp_path):
    names = [f"model-0000{index}-of-00002.safetensors" for index in (1, 2)]
    for name in names:
        server.files[name] = b"x" * 100
    server.files["model.safetensors.index.json"] = b"{}"
    del server.files["model.safetensors"]
    assert set(download(server, tmp_path)["files"]) == SMALL | {"model.safetensors.index.json", *names}


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    # Larger than the client's 10 MB pieces, so that something is on disk when the connection breaks.
    server.files["model.safetensors"] = bytes(range(256)) * (120 << 10)
    server.cut_after = 22 << 20
    found = download(server, tmp_path)
    assert (Path(found["path"]) / "model.safetensors").read_bytes() == server.files["model.safetensors"]
    ranges = [
        wanted
        for method, path, wanted in server.requests
        if method == "GET" and path.endswith("model.safetensors") and wanted
    ]
    assert ranges and all(int(wanted.removeprefix("bytes=").rstrip("-")) >= 10 << 20 for wanted in ranges)


def test_a_failed_download_can_be_repeated(server, tmp_path):
    server.cut_after = 1000  # of every answer, so the client gives up
    failed = download(server, tmp_path)
    assert failed["error"] == "DeviceError" and "files that are complete are kept" in failed["message"]
    assert not list(tmp_path.rglob("model.safetensors"))
    complete = {path.name for path in tmp_path.rglob("snapshots/*/*")}
    assert complete  # the small files
    server.cut_after = None
    server.requests.clear()
    found = download(server, tmp_path)
    assert (Path(found["path"]) / "model.safetensors").read_bytes() == server.files["model.safetensors"]
    assert not complete & set(server.downloads())


def test_offline_beside_shards_that_were_not_fetched(server, tmp_path):
    server.files["model-00001-of-00001.safetensors"] = b"x" * 100
    server.files["model.safetensors.index.json"] = b"{}"
    online = download(server, tmp_path)
    assert "model.safetensors.index.json" not in online["files"]
    assert download(server, tmp_path, offline=True)["path"] == online["path"]


def test_offline(server, tmp_path):
    for options, env in (({"offline": True}, {}), ({}, {"HF_HUB_OFFLINE": "1"})):
        server.requests.clear()
        failed = download(server, tmp_path, env=env, **options)
        assert failed["error"] == "DeviceError" and "run once online" in failed["message"]
        assert server.requests == []
    online = download(server, tmp_path)
    server.requests.clear()
    for options, env in (({"offline": True}, {}), ({}, {"HF_HUB_OFFLINE": "1"})):
        assert download(server, tmp_path, env=env, **options)["path"] == online["path"]
    assert download(server, tmp_path, f"{REPOSITORY}@{server.commit}", offline=True)["path"] == online["path"]
    assert server.requests == []
    # An incomplete copy does not count.
    (Path(online["path"]) / "tekken.json").unlink()
    assert download(server, tmp_path, offline=True)["error"] == "DeviceError"


def test_unknown_repository(server, tmp_path):
    failed = download(server, tmp_path, "someone/else")
    assert failed["error"] == "UsageError" and "no repository someone/else" in failed["message"]


def test_repository_without_a_checkpoint(server, tmp_path):
    del server.files["tekken.json"]
    failed = download(server, tmp_path)
    assert failed["error"] == "ModelFormatError" and "tekken.json" in failed["message"]
    assert server.downloads() == []


def test_no_network(server, tmp_path):
    failed = download(server, tmp_path, env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert failed["error"] == "DeviceError" and "check the network" in failed["message"]


def test_export_by_hub_id_records_the_commit(server, tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import source_export\n"
        "from voxtral_edge.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            str(Path(__file__).parent),
            "export",
            f"{REPOSITORY}@main",
            "-o",
            str(tmp_path / "package"),
        ],
        env=environment(server, tmp_path / "cache"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    check_package(tmp_path / "package")
    source = read_manifest(tmp_path / "package")["source"]
    assert (source["path"], source["revision"], source["layout"]) == (REPOSITORY, server.commit, "hf")


# ------------------------------------------------------------------ without a server


class _Information:
    sha = "c" * 40
    siblings = ()


def test_free_space_is_checked_before_the_download(monkeypatch, tmp_path):
    import huggingface_hub

    sibling = type("Sibling", (), {})
    files = []
    for name, size in (("params.json", 10), ("tekken.json", 10), ("consolidated.safetensors", 9_000_000_000)):
        item = sibling()
        item.rfilename, item.size = name, size
        files.append(item)
    information = _Information()
    information.siblings = tuple(files)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: information)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("downloaded anyway")
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5_000_000_000})())
    with pytest.raises(DeviceError, match=r"9\.00 GB needed in .*, 5\.00 GB free"):
        hub.download_checkpoint("a/b", cache_dir=tmp_path)


def test_calls_fit_the_installed_client():
    import huggingface_hub

    for function, used in (
        (
            huggingface_hub.snapshot_download,
            {"revision", "allow_patterns", "cache_dir", "library_name", "local_files_only"},
        ),
        (huggingface_hub.HfApi.model_info, {"revision", "files_metadata"}),
        (huggingface_hub.try_to_load_from_cache, {"cache_dir", "revision"}),
    ):
        assert used <= set(inspect.signature(function).parameters)
    assert isinstance(huggingface_hub.constants.HF_HUB_OFFLINE, bool)
    assert isinstance(huggingface_hub.constants.HF_HUB_CACHE, str)


def test_without_huggingface_hub_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DeviceError, match="pip install"):
        hub.download_checkpoint("a/b")


@pytest.mark.parametrize(
    "text,expected",
    [
        ("a/b", ("a/b", None)),
        ("mistralai/Voxtral-Mini-4B-Realtime-2602@main", ("mistralai/Voxtral-Mini-4B-Realtime-2602", "main")),
        ("a/b@refs/pr/1", ("a/b", "refs/pr/1")),
    ],
)
def test_hub_ids(text, expected):
    assert hub.is_hub_id(text) and hub.split_hub_id(text) == expected


@pytest.mark.parametrize("text", ["a", "a/b/c", "../b", "a/..", "/a/b", "a/b@", "a b/c", "a/b\n", ""])
def test_what_is_no_hub_id(text):
    assert not hub.is_hub_id(text)
    with pytest.raises(UsageError, match="neither a folder nor a hub id"):
        hub.split_hub_id(text)


def test_conflicting_revisions():
    with pytest.raises(UsageError, match="two revisions"):
        hub.download_checkpoint("a/b@main", revision="v1")


@pytest.mark.parametrize(
    "names,layout,expected",
    [
        (
            ["config.json", "tekken.json", "model.safetensors"],
            "hf",
            ["config.json", "tekken.json", "model.safetensors"],
        ),
        (["config.json", "tekken.json"], "hf", None),
        (["config.json", "model.safetensors"], "hf", None),
        (
            ["params.json", "tekken.json", "consolidated.safetensors", "config.json"],
            "mistral",
            ["params.json", "tekken.json", "consolidated.safetensors"],
        ),
    ],
)
def test_file_selection(names, layout, expected):
    assert hub.select_files(names, layout) == expected
