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
from c_library import CError, CLibrary
from cpp_testing import build_folder, compile_targets, run
from native_testing import ROOT, SAMPLES, must_have

import voxtral_edge as ve
from voxtral_edge.audio import read_audio

HEADER = ROOT / "csrc" / "c_api" / "voxtral_edge.h"
EXAMPLE = ROOT / "examples" / "c" / "transcribe.c"
DEMO = ROOT / "voxtral_edge" / "models" / "tiny-en"
VERSION = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
RECORDINGS = ["pin.ogg", "serial-numbers.flac", "zero-to-nine.wav"]
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


def header_functions() -> dict[str, str]:
    """Every exported function and the comment above it."""
    lines = HEADER.read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for number, line in enumerate(lines):
        match = re.match(r"VE_API .*?\b(ve_\w+)\(", line)
        if match:
            first = number
            while lines[first - 1].startswith("// "):
                first -= 1
            found[match[1]] = "\n".join(lines[first:number])
    return found


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
    stream.feed(pcm)
    stream.finish()
    assert stream.token_ids == same.token_ids
    assert stream.text == "zero one two three four nine six seven eight nine"
    stream.close()


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
    run(
        ["cmake", "-S", str(tmp_path), "-B", str(build), f"-DCMAKE_PREFIX_PATH={installed.prefix}"],
        "configuring",
    )
    run(["cmake", "--build", str(build)], "compiling")
    recording = write_wav(tmp_path / "recording.wav", pcm16("pin.ogg"))
    for program in ("with_voxtral_edge", "with_static"):
        assert run([str(build / program), str(DEMO), str(recording)], program) == word_lines("pin.ogg")


@pytest.mark.parametrize("language", [("c", "-std=c11"), ("c++", "-std=c++11"), ("c++", "-std=c++20")])
def test_the_header_is_clean_c_and_cplusplus(language: tuple[str, str], tmp_path: Path) -> None:
    must_have(shutil.which("cc") is not None, "cc is not installed")
    source = tmp_path / "source"
    source.write_text(
        "#include <voxtral_edge.h>\n"
        "ve_engine_options a = VE_ENGINE_OPTIONS_INIT;\nve_engine_info b = VE_ENGINE_INFO_INIT;\n"
        "ve_stream_options c = VE_STREAM_OPTIONS_INIT;\nve_stats d = VE_STATS_INIT;\nve_work e = VE_WORK_INIT;\n"
    )
    command = ["cc", "-x", *language, *WARNINGS, "-fsyntax-only", f"-I{HEADER.parent}", str(source)]
    run(command, "compiling the header")


def test_the_header_documents_every_function() -> None:
    functions = header_functions()
    assert len(functions) >= 19 and {"ve_engine_load", "ve_stream_feed_i16", "ve_run_streams"} <= set(
        functions
    )
    assert [name for name, comment in functions.items() if len(comment) < 30] == []
    assert len(re.findall(r"\bve_\w+\(", re.sub(r"//.*", "", HEADER.read_text()))) == len(functions)
