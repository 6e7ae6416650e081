"""Replacing a package: killed, interrupted or out of space at any point, the old or the new one is whole."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from export_testing import check_package, kill_self, leftovers, run_in_child

from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.export import SyntheticCheckpoint, atomic_folder, export_package
from voxtral_edge.export.atomic_folder import AtomicFolder, recover, sibling_folder
from voxtral_edge.export.weights_writer import HashingFile

# Each of these events comes before a change on disk, so killing before the n-th one, for all n, visits every
# state a killed export can leave. "open" covers creating files and every fsync, "ctypes.dlsym" the exchange.
_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlsym")


def write(target: Path, name: str, seed: int = 0) -> None:
    export_package(SyntheticCheckpoint("tiny", seed), target, name=name, precision="int4", threads=1)


def kill_before_event(number: int) -> None:
    """Arms this process to kill itself before the n-th event or piece of weights."""
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            kill_self()

    def hook(event: str, _arguments: object) -> None:
        if event in _EVENTS:
            count()

    original = HashingFile.write

    def counted_write(file: HashingFile, data: bytes) -> None:
        count()
        original(file, data)

    HashingFile.write = counted_write  # type: ignore[method-assign]
    sys.addaudithook(hook)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    write(tmp_path / "models" / "package", "old")
    return tmp_path / "models" / "package"


def killed_at(number: int, target: Path) -> bool:
    """Exports "new" over the target in a child that dies before event `number`; False if it finished."""

    def action() -> None:
        kill_before_event(number)
        write(target, "new", seed=1)

    code = run_in_child(action)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_killed_before_any_step_the_package_is_old_or_new(target):
    names, number = [], 1
    while killed_at(number, target):
        names.append(check_package(target))
        # A killed export leaves at most one hidden folder; the next export removes it.
        assert len(leftovers(target.parent)) <= 1, number
        recover(target)
        assert leftovers(target.parent) == []
        if names[-1] == "new":
            write(target, "old")
        number += 1
    assert len(names) > 50
    # Old up to the exchange, new from then on, nothing else.
    swapped = names.index("new")
    assert set(names[:swapped]) == {"old"} and set(names[swapped:]) == {"new"}


def test_without_exchange_a_killed_swap_is_undone_by_the_next_export(target, monkeypatch):
    monkeypatch.setattr(atomic_folder, "_exchange", lambda first, second: False)
    outcomes, number = [], 1
    while killed_at(number, target):
        was_missing = not target.exists()
        recover(target)
        outcomes.append("missing" if was_missing else check_package(target))
        assert check_package(target) in ("old", "new"), number
        assert leftovers(target.parent) == []
        if check_package(target) == "new":
            write(target, "old")
        number += 1
    # One moment only, between the two renames; recovery gives the old package back.
    assert outcomes.count("missing") == 1
    assert {"old", "new"} <= set(outcomes)


def test_killed_first_export_leaves_nothing_visible(tmp_path):
    target = tmp_path / "package"
    for number in (1, 3, 10, 20, 40):

        def action(number: int = number) -> None:
            kill_before_event(number)
            write(target, "new")

        assert run_in_child(action) == -signal.SIGKILL
        assert not target.exists()
    write(target, "new")
    assert check_package(target) == "new"
    assert leftovers(tmp_path) == []


def test_killed_at_random_times_from_outside(target):
    """The same with a real process and a real clock: whatever the moment, the package is whole."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import source_export\n"
        "from pathlib import Path\n"
        "from voxtral_edge.export import SyntheticCheckpoint, export_package\n"
        "source = SyntheticCheckpoint('tiny', 1)\n"
        "print('ready', flush=True)\n"
        "for round in range(1000): export_package(source, Path(sys.argv[2]), name='new', threads=1)\n"
    )
    generator = random.Random(11)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(target)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0.0, 0.3))
        process.kill()
        process.wait()
        process.stdout.close()
        assert check_package(target) in ("old", "new")
    write(target, "last")
    assert check_package(target) == "last"
    assert leftovers(target.parent) == []


def test_what_a_killed_calibration_leaves_goes_with_the_next_export(target):
    """18 GB for the 4B model."""

    def action() -> None:
        with sibling_folder(target, "calibration") as folder:
            (folder / "activations").write_bytes(b"x")
            kill_self()

    assert run_in_child(action) == -signal.SIGKILL
    assert [name[:21] for name in leftovers(target.parent)] == [".package.calibration-"]
    write(target, "new")
    assert check_package(target) == "new"
    assert leftovers(target.parent) == []


@pytest.mark.parametrize("locks", [True, False])
def test_a_calibration_that_goes_on_is_left_alone(target, locks, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    if not locks:
        monkeypatch.setattr(atomic_folder.fcntl, "flock", refuse)
    with sibling_folder(target, "calibration") as folder:
        write(target, "new")
        assert folder.is_dir()
    assert leftovers(target.parent) == []


# ------------------------------------------------------------------ interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_clean_up(target, number):
    def action() -> None:
        original, calls = HashingFile.write, 0

        def write_and_signal(file: HashingFile, data: bytes) -> None:
            nonlocal calls
            original(file, data)
            calls += 1
            if calls == 20:
                os.kill(os.getpid(), number)

        HashingFile.write = write_and_signal  # type: ignore[method-assign]
        try:
            write(target, "new")
        except (KeyboardInterrupt, SystemExit) as stop:
            expected = None if number == signal.SIGINT else 128 + number
            os._exit(77 if getattr(stop, "code", None) == expected else 78)

    assert run_in_child(action) == 77
    assert check_package(target) == "old"
    assert leftovers(target.parent) == []


def test_signal_handlers_are_restored(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    write(tmp_path / "package", "new")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_two_exports_to_one_target_do_not_disturb_each_other(tmp_path):
    target, failures = tmp_path / "package", []

    def work(name: str) -> None:
        try:
            for _ in range(5):
                write(target, name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert check_package(target) in ("first", "second")
    assert leftovers(tmp_path) == []


def test_everything_is_on_the_disk_before_the_swap(target, monkeypatch):
    done: list[str] = []
    fsync, put_in_place = os.fsync, atomic_folder._put_in_place

    def synced(descriptor: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def swapped(new: Path, old: Path) -> None:
        done.extend(["swap", new.name])
        put_in_place(new, old)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(atomic_folder, "_put_in_place", swapped)
    write(target, "new")
    at = done.index("swap")
    assert set(done[:at]) == atomic_folder.PACKAGE_FILES | {done[at + 1]}
    assert done[at + 2 :] == [target.parent.name]


def test_a_folder_that_appeared_meanwhile_is_left_alone(tmp_path):
    with AtomicFolder(tmp_path / "package") as folder:
        (folder.path / "weights.bin").write_bytes(b"new")
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "thesis.txt").write_text("years of work")
        with pytest.raises(UsageError, match="is no voxtral-edge package"):
            folder.commit()
    assert (tmp_path / "package" / "thesis.txt").read_text() == "years of work"
    assert leftovers(tmp_path) == []


def test_a_living_export_is_not_cleaned_up(tmp_path):
    target = tmp_path / "package"
    with AtomicFolder(target) as folder:
        (folder.path / "weights.bin").write_bytes(b"half")
        write(target, "other")
        assert (folder.path / "weights.bin").exists()
    assert check_package(target) == "other"


# ------------------------------------------------------------------ disk space


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failing_disk_leaves_the_old_package(target, monkeypatch, code):
    original = HashingFile.write
    generator = random.Random(code)
    for _ in range(50):
        budget = generator.randrange(500_000)

        def fail_after(file: HashingFile, data: bytes, budget: int = budget) -> None:
            if file.size_bytes + len(memoryview(data).cast("B")) > budget:
                raise OSError(code, os.strerror(code))
            original(file, data)

        monkeypatch.setattr(HashingFile, "write", fail_after)
        with pytest.raises(DeviceError) as caught:
            write(target, "new")
        if code == errno.EIO:
            assert "Input/output error" in str(caught.value)
        else:
            assert "B needed" in str(caught.value)
        assert check_package(target) == "old"
        assert leftovers(target.parent) == []


def test_space_is_checked_before_anything_is_written(target, monkeypatch):
    usage = shutil.disk_usage(target)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    monkeypatch.setattr(HashingFile, "write", lambda *_: pytest.fail("wrote although space is short"))
    with pytest.raises(DeviceError, match=r"not enough disk space for .*: [\d.]+ MB needed, 1\.0 MB free"):
        write(target, "new")
    assert check_package(target) == "old"
    assert leftovers(target.parent) == []


def test_a_really_full_file_system(tmp_path):
    """On a small tmpfs: room for the old package and half of the new one, which the check cannot foresee."""
    mount = tmp_path / "small"
    mount.mkdir()
    size = "size=16m"
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(mount)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a tmpfs needs root")
    try:
        write(mount / "package", "old")
        free = shutil.disk_usage(mount).free
        (mount / "filler").write_bytes(bytes(free - 200_000))
        with pytest.raises(DeviceError, match="B needed"):
            write(mount / "package", "new")
        generous = shutil.disk_usage(mount)._replace(free=1 << 40)
        original = shutil.disk_usage
        shutil.disk_usage = lambda path: generous
        try:
            with pytest.raises(DeviceError, match="B needed"):
                write(mount / "package", "new")
        finally:
            shutil.disk_usage = original
        assert check_package(mount / "package") == "old"
        assert leftovers(mount) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# ------------------------------------------------------------------ what may be replaced


def test_foreign_folders_and_files_are_refused(tmp_path):
    stranger = tmp_path / "thesis"
    stranger.mkdir()
    (stranger / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no voxtral-edge package"):
        write(stranger, "new")
    (stranger / "manifest.json").write_text('{"format": "another"}')
    with pytest.raises(UsageError, match="is no voxtral-edge package"):
        write(stranger, "new")
    assert (stranger / "chapter.txt").read_text() == "years of work"
    with pytest.raises(UsageError, match="is no folder"):
        write(stranger / "chapter.txt", "new")
    assert leftovers(tmp_path) == []


def test_a_package_that_holds_something_else_too_is_refused(target):
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"also holds 'notes\.txt'"):
        write(target, "new")
    (target / "notes.txt").rename(target.parent / "notes.txt")
    (target / "model-0123456789abcdef.packed").write_text("ours")
    write(target, "new")
    assert check_package(target) == "new"


def test_an_empty_folder_and_a_link_are_replaced(tmp_path, target):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "new")
    assert check_package(tmp_path / "empty") == "new"
    (tmp_path / "link").symlink_to(target)
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert check_package(target) == "new"


def test_names_with_pattern_characters(tmp_path):
    target = tmp_path / "a[1]*?"
    stale, other = tmp_path / ".a[1]*?.partial-0", tmp_path / ".a1xy.partial-0"
    for folder in (stale, other):
        folder.mkdir()
    for name in ("old", "new"):
        write(target, name)
        assert check_package(target) == name
    assert leftovers(tmp_path) == [other.name], "what another export left is its own next one's to remove"


def test_a_target_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DeviceError, match="cannot write beside"):
        write(tmp_path / "file" / "package", "new")
