"""The C library as others use it: installed into a prefix, found by pkg-config and CMake, called from C and from
another language. Mistakes, threads and sanitizers: tests/cpp/c_api_test.cc and c_api_errors_test.cc."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from c_library import HEADER, WARNINGS, CError, CLibrary, LoadProgress, header_functions
from cpp_testing import build_folder, compile_targets, run
from native_testing import ROOT, SAMPLES, must_have

import voxtral_edge as ve
from voxtral_edge.audio import read_audio

EXAMPLE = ROOT / "examples" / "c" / "transcribe.c"
DEMO = ROOT / "voxtral_edge" / "models" / "tiny-en"
VERSION = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
RECORDINGS = ["pin.ogg", "serial-numbers.flac", "zero-to-nine.wav"]


@dataclass
class Installed:
    """A prefix that the C library was installed into, and how to find it there."""

    prefix: Path
    library: Path
    environment: dict[str, str]

    def pkg_config(self, *options: str) -> list[str]:
        command = ["pkg-config", *options, "voxtral-edge"]
        return shlex.split(run(command, "pkg-config", env=self.environment))


@pytest.fixture(scope="module")
def installed(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    must_have(shutil.which("cc") is not None, "cc is not installed")
    must_have(shutil.which("pkg-config") is not None, "pkg-config is not installed")
    first, prefix = tmp_path_factory.mktemp("staged"), tmp_path_factory.mktemp("moved") / "prefix"
    with build_folder("plain", pytestconfig) as folder:
        compile_targets("plain", folder, ["voxtral_edge_shared", "voxtral_edge_static"])
        run(["cmake", "--install", str(folder), "--prefix", str(first)], "installing")
    first.rename(prefix)  # what was installed can be moved
    library = next(prefix.rglob("libvoxtral_edge.so"))
    environment = {
        **os.environ,
        "PKG_CONFIG_PATH": str(library.parent / "pkgconfig"),
        "LD_LIBRARY_PATH": str(library.parent),
    }
    return Installed(prefix, library, environment)


@pytest.fixture(scope="module")
def example(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built as docs/c-api.md says, with every warning an error."""
    program = tmp_path_factory.mktemp("example") / "transcribe"
    command = ["cc", "-std=c11", *WARNINGS, str(EXAMPLE), "-o", str(program)]
    run(
        [*command, *installed.pkg_config("--cflags", "--libs")],
        "compiling the example",
        env=installed.environment,
    )
    return program


@pytest.fixture(scope="module")
def library(installed: Installed) -> Iterator[CLibrary]:
    opened = CLibrary(installed.library, DEMO)
    yield opened
    opened.close()


@functools.cache
def pcm16(name: str) -> np.ndarray:
    return (read_audio(SAMPLES / name) * 32767).astype("<i2")


@functools.cache
def expected(name: str) -> tuple[list[int], str, list[dict[str, object]]]:
    """Ids, text and events of the Python interface's stream."""
    stream = ve.load("tiny-en").core_stream(6)
    events = stream.feed(pcm16(name)) + stream.finish()
    return stream.token_ids, stream.text, events


def word_lines(name: str) -> str:
    words = [event for event in expected(name)[2] if event["type"] == "word"]
    assert len(words) >= 4
    return "".join(f"{word['start']:8.2f} {word['end']:8.2f}  {word['text']}\n" for word in words)


def write_wav(path: Path, pcm: np.ndarray, rate: int = 16000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_the_example_prints_the_words_of_the_python_interface(
    example: Path, installed: Installed, tmp_path: Path, name: str
) -> None:
    recording = write_wav(tmp_path / "recording.wav", pcm16(name))
    with open(recording, "ab") as file:
        file.write(b"LIST\x08\0\0\0not PCM!")  # what follows the samples is not audio
    from_file = run([str(example), str(DEMO), str(recording)], "example", env=installed.environment)
    assert from_file == word_lines(name)
    piped = subprocess.run(
        [str(example), str(DEMO)],
        input=pcm16(name).tobytes(),
        capture_output=True,
        check=True,
        env=installed.environment,
    )
    assert piped.stdout.decode() == word_lines(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_ids_text_and_events_are_those_of_the_python_interface(library: CLibrary, name: str) -> None:
    ids, text, events = expected(name)
    pcm = pcm16(name)
    for options in ({}, {"delay_ms": 480, "recorded": 1}):
        stream = library.stream(**options)
        assert stream.feed(pcm) + stream.finish() == events
        assert (stream.token_ids, stream.text) == (ids, text)
        stream.close()
    stream = library.stream()
    for piece in np.array_split(pcm.astype(np.float32) / np.float32(32768), 37):
        stream.feed(piece)
    stream.finish()
    assert (stream.token_ids, stream.text) == (ids, text)
    stream.close()


@pytest.mark.slow
def test_hotwords_are_those_of_the_python_interface(library: CLibrary) -> None:
    pcm = pcm16("zero-to-nine.wav")
    listed = [("four nine", 6.0), ("one", 2.0)]
    text = "# what is likely to be said\nfour nine :6\n\none :2\n"
    engine = ve.load("tiny-en")
    same = engine.core_stream(6, bias=engine.hotwords(listed).tree)
    same.feed(pcm)
    same.finish()
    stream = library.stream(hotwords=text.encode())
    for _ in range(2):
        stream.feed(pcm)
        stream.finish()
        assert stream.token_ids == same.token_ids
        assert stream.text == "zero one two three four nine six seven eight nine"
        stream.reset()
    stream.close()


@pytest.mark.slow
def test_every_function_from_another_language(installed: Installed, tmp_path: Path) -> None:
    """Through ctypes alone: progress, cache, information, statistics, flush, reset, groups, refusals."""
    seen: list[tuple[int, int]] = []

    @LoadProgress
    def on_progress(_: object, done: int, total: int) -> int:
        seen.append((done, total))
        return 0

    cache = str(tmp_path).encode()
    for state in (b"written", b"mapped"):
        opened = CLibrary(
            installed.library,
            DEMO,
            threads=1,
            kv_cache=b"f32",
            packed_cache_folder=cache,
            on_progress=on_progress,
        )
        info = opened.info()
        assert (info["name"], info["packed_cache_state"], info["packed_cache_note"]) == (
            b"tiny-en",
            state,
            b"",
        )
        assert (info["threads"], info["encoder_kv"], info["samples_per_token"]) == (1, b"f32", 1280)
    assert seen == sorted(seen[: len(seen) // 2]) * 2 and seen[-1][0] <= seen[-1][1]

    major, minor, patch = map(int, VERSION.split("."))
    assert opened.version_number() == major * 1_000_000 + minor * 1000 + patch
    pcm = {name: pcm16(name).astype(np.float32) / np.float32(32768) for name in RECORDINGS}
    streams = {name: opened.stream() for name in RECORDINGS}
    opened.run(*((streams[name], pcm[name], "feed") for name in RECORDINGS))
    opened.run(*((streams[name], None, "finish") for name in RECORDINGS))
    for name, stream in streams.items():
        assert (stream.token_ids, stream.text) == expected(name)[:2]
        stats = stream.stats()
        assert stats["fed_samples"] == len(pcm[name]) and stats["generated_tokens"] == len(stream.token_ids)
        with pytest.raises(CError, match=r"VE_ERROR_USAGE: ve_stream_feed_f32: .*finished"):
            stream.feed(pcm[name])
        stream.reset()
        stream.feed(pcm[name])
        flushed = stream.flush()
        assert flushed and flushed[-1]["type"] == "word" and stream.text == expected(name)[1]
        stream.close()
    opened.close()

    @LoadProgress
    def stop(_: object, done: int, total: int) -> int:
        return 1

    with pytest.raises(CError, match="VE_ERROR_CANCELLED"):
        CLibrary(installed.library, DEMO, on_progress=stop)
    with pytest.raises(CError, match=r"VE_ERROR_USAGE: ve_engine_load: .*sse"):
        CLibrary(installed.library, DEMO, kernels=b"sse")
    with pytest.raises(CError, match=r"VE_ERROR_MODEL_FORMAT: ve_engine_load: .*manifest\.json"):
        CLibrary(installed.library, tmp_path)


@pytest.mark.slow
def test_too_little_memory_is_refused_before_loading(installed: Installed, tmp_path: Path) -> None:
    """By a program in C whose address space is limited."""
    source, program = tmp_path / "limited.c", tmp_path / "limited"
    source.write_text(
        "#include <stdio.h>\n#include <sys/resource.h>\n#include <voxtral_edge.h>\n"
        "int main(int count, char** words) {\n"
        "  struct rlimit limit = {(rlim_t)1 << 20, RLIM_INFINITY};\n"  # less than the program has already
        "  ve_engine* engine;\n"
        "  ve_status status;\n"
        "  if (count != 2) return 2;\n"
        "  setrlimit(RLIMIT_AS, &limit);\n"
        "  status = ve_engine_load(words[1], NULL, &engine);\n"
        '  printf("%s %s\\n", ve_status_name(status), ve_last_error());\n'
        "  return 0;\n}\n"
    )
    run(
        ["cc", *WARNINGS, str(source), "-o", str(program), *installed.pkg_config("--cflags", "--libs")],
        "compiling",
    )
    told = run([str(program), str(DEMO)], "loading", env=installed.environment)
    assert told.startswith("VE_ERROR_OUT_OF_MEMORY ve_engine_load: "), told


@pytest.mark.slow
def test_delays_are_those_of_the_python_interface(library: CLibrary) -> None:
    for delay_ms in range(1, 2600):
        if delay_ms in ve.VALID_DELAYS_MS:
            library.stream(delay_ms=delay_ms).close()
            continue
        with pytest.raises(CError) as refused:
            library.stream(delay_ms=delay_ms)
        with pytest.raises(ve.UsageError) as same:
            ve.engine.delay_tokens(delay_ms)
        assert str(refused.value) == f"VE_ERROR_USAGE: ve_stream_create: {same.value}"


@pytest.mark.slow
def test_what_the_example_cannot_use_ends_in_one_line(
    example: Path, installed: Installed, tmp_path: Path
) -> None:
    pcm = pcm16("pin.ogg")
    fast = write_wav(tmp_path / "fast.wav", pcm, rate=44100)
    stereo = write_wav(tmp_path / "stereo.wav", pcm[: len(pcm) // 2 * 2], channels=2)
    good = write_wav(tmp_path / "good.wav", pcm)
    (tmp_path / "text.wav").write_text("no audio at all, but long enough to be read as a header")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    for package, recording, says in (
        (DEMO, fast, "fast.wav is no 16-bit 16 kHz mono WAV file"),
        (DEMO, stereo, "stereo.wav is no 16-bit"),
        (DEMO, tmp_path / "text.wav", "text.wav is no 16-bit"),
        (DEMO, tmp_path / "missing.wav", "No such file"),
        (tmp_path / "nowhere", good, "ve_engine_load: " + str(tmp_path / "nowhere")),
        (tmp_path / "damaged", good, "manifest.json"),
    ):
        ran = subprocess.run(
            [str(example), str(package), str(recording)],
            capture_output=True,
            text=True,
            env=installed.environment,
        )
        assert (ran.returncode, ran.stdout) == (1, "")
        assert says in ran.stderr and ran.stderr.count("\n") == 1
    with open("/dev/full", "w") as full:
        command = [str(example), str(DEMO), str(good)]
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=installed.environment
        )
    assert ran.returncode == 1 and "writing words: No space left on device" in ran.stderr


@pytest.mark.slow
def test_only_documented_functions_are_exported(installed: Installed) -> None:
    must_have(
        shutil.which("nm") is not None and shutil.which("readelf") is not None, "binutils are not installed"
    )
    symbols = run(["nm", "-D", "--defined-only", "--without-symbol-versions", str(installed.library)], "nm")
    exported = {fields[2] for line in symbols.splitlines() if (fields := line.split())[1] != "A"}
    assert exported == set(header_functions())
    major, minor, _ = VERSION.split(".")
    soname = f"libvoxtral_edge.so.0.{minor}" if major == "0" else f"libvoxtral_edge.so.{major}"
    dynamic = run(["readelf", "-d", str(installed.library)], "readelf")
    assert f"Library soname: [{soname}]" in dynamic
    assert installed.library.resolve().name == f"libvoxtral_edge.so.{VERSION}"


@pytest.mark.slow
def test_the_archive_defines_no_name_that_others_could_have(installed: Installed) -> None:
    """Besides ve_...: names in our namespace, and those weak ones that the C++ library's templates leave anywhere."""
    must_have(shutil.which("nm") is not None, "binutils are not installed")
    archive = str(installed.library.with_suffix(".a"))
    names = run(["nm", "--defined-only", "--extern-only", "--demangle", "--format=posix", archive], "nm")
    functions, others = set(), set()
    for line in names.splitlines():
        found = re.fullmatch(r"(.+) ([A-Za-z]) [0-9a-f]+(?: [0-9a-f]+)?", line)
        if found is None or found[2] in "WVu":
            continue
        if re.match(r"ve_\w+$", found[1]):
            functions.add(found[1])
        elif not re.match(
            r"(typeinfo (name )?for |vtable for |guard variable for )?voxtral_edge::", found[1]
        ):
            others.add(found[1])
    assert functions == set(header_functions())
    assert others == set()


@pytest.mark.slow
def test_one_version_everywhere(installed: Installed, library: CLibrary) -> None:
    parts = re.findall(r"^#define VE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", HEADER.read_text(), re.MULTILINE)
    assert ".".join(parts) == library.version() == VERSION
    assert installed.pkg_config("--modversion") == [VERSION]


@pytest.mark.slow
def test_the_five_minutes_of_the_guide(installed: Installed, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "c-api.md").read_text(encoding="utf-8")
    code = re.findall(r"^```c\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "app.c").write_text("\n".join(code))
    program = tmp_path / "app"
    command = ["cc", *WARNINGS, str(tmp_path / "app.c"), "-o", str(program)]
    run([*command, *installed.pkg_config("--cflags", "--libs")], "compiling the guide's program")
    ran = subprocess.run(
        [str(program)],
        input=pcm16("pin.ogg").tobytes(),
        cwd=ROOT,
        capture_output=True,
        check=True,
        env=installed.environment,
    )
    assert ran.stdout.decode() == expected("pin.ogg")[1] + "\n"


@pytest.mark.slow
def test_the_static_library_needs_no_other_file(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "static"
    options = [option for option in installed.pkg_config("--static", "--libs") if option != "-lvoxtral_edge"]
    archive = str(installed.library.with_suffix(".a"))
    command = ["cc", str(EXAMPLE), "-o", str(program), *installed.pkg_config("--cflags"), archive, *options]
    run(command, "linking the archive")
    recording = write_wav(tmp_path / "recording.wav", pcm16("pin.ogg"))
    assert run([str(program), str(DEMO), str(recording)], "static example") == word_lines("pin.ogg")


@pytest.mark.slow
def test_valgrind_finds_nothing_in_the_example(example: Path, installed: Installed, tmp_path: Path) -> None:
    must_have(shutil.which("valgrind") is not None, "valgrind is not installed")
    recording = write_wav(tmp_path / "recording.wav", pcm16("pin.ogg")[:16000])
    checks = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full"]
    told = run([*checks, str(example), str(DEMO), str(recording)], "valgrind", env=installed.environment)
    assert told.split()[2:] == ["nine"]


@pytest.mark.slow
@pytest.mark.parametrize("build", ["address-undefined", "aarch64"])
def test_the_example_with_the_static_library_of(
    build: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """AddressSanitizer also reports what has not been freed; the other is run by qemu."""
    must_have(shutil.which("pkg-config") is not None, "pkg-config is not installed")
    with build_folder(build, pytestconfig) as folder:
        compile_targets(build, folder, ["voxtral_edge_static", "voxtral_edge_shared"])
        run(["cmake", "--install", str(folder), "--prefix", str(tmp_path / "prefix")], "installing")
    pkg_config = next((tmp_path / "prefix").rglob("voxtral-edge.pc"))
    found = shlex.split(
        run(
            ["pkg-config", "--static", "--cflags", "--libs", "voxtral-edge"],
            "pkg-config",
            env={**os.environ, "PKG_CONFIG_PATH": str(pkg_config.parent)},
        )
    )
    archive = str(pkg_config.parents[1] / "libvoxtral_edge.a")
    options = [archive if option == "-lvoxtral_edge" else option for option in found]
    compiler, emulator = ["cc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], []
    if build == "aarch64":
        qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") or ""
        compiler, emulator = ["aarch64-linux-gnu-gcc", "-static"], [qemu, "-cpu", "cortex-a76"]
    program = str(tmp_path / "transcribe")
    run([*compiler, *WARNINGS, str(EXAMPLE), "-o", program, *options], "compiling the example")
    recording = write_wav(tmp_path / "recording.wav", pcm16("pin.ogg"))
    told = run([*emulator, program, str(DEMO), str(recording)], "example")
    assert [line.split()[2] for line in told.splitlines()] == expected("pin.ogg")[1].split()


@pytest.mark.slow
def test_cmake_finds_the_installed_package(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\n"
        "project(example LANGUAGES C)\n"
        f"find_package(voxtral_edge {VERSION} CONFIG REQUIRED)\n"
        "foreach(kind voxtral_edge static)\n"
        f"  add_executable(with_${{kind}} {EXAMPLE})\n"
        "  target_link_libraries(with_${kind} PRIVATE voxtral_edge::${kind})\n"
        "endforeach()\n"
    )
    build = tmp_path / "build"
    configure = ["cmake", "-S", str(tmp_path), "-B", str(build), f"-DCMAKE_PREFIX_PATH={installed.prefix}"]
    wanted, lists = f"voxtral_edge {VERSION}", tmp_path / "CMakeLists.txt"
    for other in ("0.0.9", "0.99", "1.0"):  # before 1.0 another minor version is another interface
        good = lists.read_text()
        lists.write_text(good.replace(wanted, f"voxtral_edge {other}"))
        refused = subprocess.run(configure, capture_output=True, text=True, check=False)
        assert refused.returncode != 0 and f"version: {VERSION}" in refused.stderr, refused.stderr
        lists.write_text(good)
    run(configure, "configuring")
    run(["cmake", "--build", str(build)], "compiling")
    recording = write_wav(tmp_path / "recording.wav", pcm16("pin.ogg"))
    for program in ("with_voxtral_edge", "with_static"):
        assert run([str(build / program), str(DEMO), str(recording)], program) == word_lines("pin.ogg")
