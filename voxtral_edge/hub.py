"""A checkpoint by hub id: pinned revision, only the files of one layout, space checked first, offline
mode.

    snapshot = download_checkpoint("mistralai/Voxtral-Mini-4B-Realtime-2602@<revision>")
    snapshot.path, snapshot.revision                 # local folder, resolved commit

huggingface_hub (extra "export") is imported only when a hub id is used. Within a run it goes on where a connection
broke; of a run that was ended, 0.36 keeps partial files too, 2.4 only complete ones.
"""

from __future__ import annotations

import errno
import glob
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from voxtral_edge.errors import DeviceError, ModelFormatError, UsageError
from voxtral_edge.files import size_text
from voxtral_edge.machine import free_disk_bytes

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
# What each layout needs: exact names, and the stem of its weights (one file, or an index and shards).
_SMALL_FILES = {
    # params.json, 1 kB, states the front end where no processor file does.
    "hf": ("config.json", "tekken.json", "processor_config.json", "preprocessor_config.json", "params.json"),
    "mistral": ("params.json", "tekken.json"),
}
_REQUIRED = {"hf": ("config.json", "tekken.json"), "mistral": ("params.json", "tekken.json")}
_STEM = {"hf": "model", "mistral": "consolidated"}


@dataclass(frozen=True)
class Snapshot:
    """A downloaded checkpoint: local folder, hub id, and the commit it was resolved to."""

    path: Path
    repository: str
    revision: str
    layout: str


@dataclass(frozen=True)
class _RemoteFile:
    name: str
    size_bytes: int | None


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form owner/name or owner/name@revision."""
    return _HUB_ID.fullmatch(text) is not None


def split_hub_id(text: str) -> tuple[str, str | None]:
    """ "owner/name@revision" -> ("owner/name", "revision"). Raises UsageError for anything else."""
    match = _HUB_ID.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is neither a folder nor a hub id (owner/name or owner/name@revision)")
    return match[1], match[2]


def download_checkpoint(
    hub_id: str,
    *,
    revision: str | None = None,
    layout: str = "auto",
    offline: bool = False,
    cache_dir: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Snapshot:
    """Makes a checkpoint of the hub available locally and returns where it lies.

    revision   branch, tag or commit; also as "owner/name@revision". The commit it means now is in the result.
    layout     "hf", "mistral" or "auto": what is already here, else the Hugging Face layout
    offline    use only what was downloaded before (HF_HUB_OFFLINE=1 does the same)
    notify     called with one line of text before a download begins
    Raises UsageError (bad id, unknown repository or revision, no access), ModelFormatError (files missing on
    the hub), DeviceError (network, disk space, offline and not here, huggingface_hub not installed).
    """
    repository, pinned = split_hub_id(hub_id)
    if pinned and revision and pinned != revision:
        raise UsageError(f"two revisions given: {pinned!r} in {hub_id!r} and {revision!r}")
    wanted = revision or pinned
    hub = _import_hub()
    if offline or hub.constants.HF_HUB_OFFLINE:
        return _find_offline(hub, repository, wanted, layout, cache_dir)
    try:
        info = hub.HfApi(library_name="voxtral-edge").model_info(
            repository, revision=wanted, files_metadata=True
        )
    except Exception as error:
        _raise_typed(error, repository, wanted, "look up")
    commit = str(info.sha)
    available = {item.rfilename: _RemoteFile(item.rfilename, item.size) for item in info.siblings or []}
    chosen, files = _choose_files(hub, repository, commit, available, layout, cache_dir)
    missing = [file for file in files if not _is_cached(hub, repository, commit, file.name, cache_dir)]
    needed = sum(file.size_bytes or 0 for file in missing)
    _require_space(hub, cache_dir, needed, repository)
    if missing and notify is not None:
        notify(f"downloading {len(missing)} files of {repository} at {commit[:12]}, {needed / 1e9:.2f} GB")
    path = _download(hub, repository, wanted, commit, [file.name for file in files], cache_dir, needed)
    return Snapshot(path, repository, commit, chosen)


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants  # not loaded by the package itself in 0.x
    except ImportError as error:
        raise DeviceError(
            "a hub id needs the huggingface_hub package: pip install huggingface_hub, or download"
            " the files"
            " yourself and give their folder"
        ) from error
    return huggingface_hub


# ------------------------------------------------------------------ which files


def select_files(names: list[str], layout: str) -> list[str] | None:
    """The files of one layout among a repository's files, or None if it is not complete there."""
    if any(name not in names for name in _REQUIRED[layout]):
        return None
    stem = _STEM[layout]
    if f"{stem}.safetensors" in names:
        weights = [f"{stem}.safetensors"]
    elif f"{stem}.safetensors.index.json" in names:
        shard = re.compile(rf"{stem}-\d+-of-\d+\.safetensors")
        weights = [f"{stem}.safetensors.index.json", *sorted(name for name in names if shard.fullmatch(name))]
    else:
        return None
    return [name for name in _SMALL_FILES[layout] if name in names] + weights


def _choose_files(
    hub: ModuleType,
    repository: str,
    commit: str,
    available: dict[str, _RemoteFile],
    layout: str,
    cache_dir: Path | None,
) -> tuple[str, list[_RemoteFile]]:
    """One layout only: the two weight files of the released model are 8.9 GB each and hold the same."""
    candidates = {}
    for name in ("hf", "mistral") if layout == "auto" else (layout,):
        files = select_files(list(available), name)
        if files is not None:
            candidates[name] = [available[file] for file in files]
    if not candidates:
        raise ModelFormatError(
            f"{repository} at {commit[:12]} holds no complete checkpoint (layout {layout}): expected"
            " tekken.json with config.json and model.safetensors, or with params.json and"
            " consolidated.safetensors"
        )
    for name, remote in candidates.items():
        if all(_is_cached(hub, repository, commit, file.name, cache_dir) for file in remote):
            return name, remote
    first = next(iter(candidates))
    return first, candidates[first]


def _is_cached(hub: ModuleType, repository: str, commit: str, name: str, cache_dir: Path | None) -> bool:
    return isinstance(hub.try_to_load_from_cache(repository, name, cache_dir=cache_dir, revision=commit), str)


# ------------------------------------------------------------------ transfer


def _cache_root(hub: ModuleType, cache_dir: Path | None) -> Path:
    return Path(cache_dir or hub.constants.HF_HUB_CACHE).expanduser()


def _require_space(hub: ModuleType, cache_dir: Path | None, needed_bytes: int, repository: str) -> None:
    root = _cache_root(hub, cache_dir)
    free = free_disk_bytes(root)
    if free < needed_bytes:
        raise DeviceError(
            f"not enough disk space to download {repository}: {size_text(needed_bytes)} needed in {root}, "
            f"{size_text(free)} free; free some space, or set HF_HOME to a larger disk"
        )


def _download(
    hub: ModuleType,
    repository: str,
    wanted: str | None,
    commit: str,
    names: list[str],
    cache_dir: Path | None,
    needed_bytes: int,
) -> Path:
    """Downloads by the name the user gave, so that the cache knows that name offline too."""
    try:
        path = Path(
            hub.snapshot_download(
                repository,
                revision=wanted,
                allow_patterns=[glob.escape(name) for name in names],
                cache_dir=cache_dir,
                library_name="voxtral-edge",
            )
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DeviceError(
                f"the disk filled up while downloading {repository} ({size_text(needed_bytes)} needed); free "
                "some space and run the same command again, files that are complete are kept"
            ) from error
        _raise_typed(error, repository, wanted, "download")
    if path.name != commit:
        raise DeviceError(
            f"{repository} changed while it was downloaded ({commit[:12]} -> {path.name[:12]}); run again"
        )
    return path


def _find_offline(
    hub: ModuleType, repository: str, wanted: str | None, layout: str, cache_dir: Path | None
) -> Snapshot:
    """The newest thing this cache knows under the revision."""
    for name in ("hf", "mistral") if layout == "auto" else (layout,):
        stem = _STEM[name]
        single, shards = f"{stem}.safetensors", (f"{stem}.safetensors.index.json", f"{stem}-*.safetensors")
        # Recent clients refuse a snapshot without files that the patterns and the repository have: one kind at a time.
        for weights in ([single], shards):
            try:
                path = Path(
                    hub.snapshot_download(
                        repository,
                        revision=wanted,
                        allow_patterns=[*_SMALL_FILES[name], *weights],
                        cache_dir=cache_dir,
                        local_files_only=True,
                    )
                )
            except OSError:  # huggingface_hub: LocalEntryNotFoundError is a FileNotFoundError
                continue
            if select_files([file.name for file in path.iterdir()], name) is not None:
                return Snapshot(path, repository, path.name, name)
    raise DeviceError(
        f"offline, and {repository}{'@' + wanted if wanted else ''} is not completely in"
        f" {_cache_root(hub, cache_dir)}; run once online (without --offline and HF_HUB_OFFLINE), or give a"
        " checkpoint folder"
    )


def _raise_typed(error: Exception, repository: str, wanted: str | None, action: str) -> NoReturn:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        raise UsageError(
            f"{repository} is gated: accept its licence on its hub page and log in with `hf auth login` (or"
            " HF_TOKEN)"
        ) from error
    if "RepositoryNotFoundError" in kinds:
        raise UsageError(
            f"no repository {repository} on the hub, or it is private: check the id, or log in"
        ) from error
    if "RevisionNotFoundError" in kinds:
        raise UsageError(f"{repository} has no revision {wanted!r}") from error
    if "HFValidationError" in kinds:
        raise UsageError(f"{repository!r} is not a valid hub id: {error}") from error
    detail: Any = " ".join(str(error).split())[:300] or type(error).__name__
    raise DeviceError(
        f"could not {action} {repository}: {detail}; check the network and run again (files that are complete are"
        " kept), or use --offline if the checkpoint is already here"
    ) from error
