"""The C header alone: every standard of C and C++, what it says of each function, layouts in other languages."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path

import pytest
from c_library import HEADER, STRUCTURES, WARNINGS, header_functions
from cpp_testing import run
from native_testing import must_have

LANGUAGES = [("c", f"-std={c}") for c in ("c89", "c99", "c11", "c17")]
LANGUAGES += [("c++", f"-std={cplusplus}") for cplusplus in ("c++98", "c++11", "c++20")]


@pytest.mark.parametrize("compiler", ["cc", "gcc", "clang"])
def test_the_header_is_clean_c_and_cplusplus(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")  # one of them is
    source = tmp_path / "source"
    source.write_text(
        "#include <voxtral_edge.h>\n#include <voxtral_edge.h>\n"
        "ve_engine_options a = VE_ENGINE_OPTIONS_INIT;\nve_engine_info b = VE_ENGINE_INFO_INIT;\n"
        "ve_stream_options c = VE_STREAM_OPTIONS_INIT;\nve_stats d = VE_STATS_INIT;\nve_work e = VE_WORK_INIT;\n"
        "ve_status (*f)(const ve_stream*, ve_stats*) = ve_stream_get_stats;\n"
    )
    for language in LANGUAGES:
        command = [compiler, "-x", *language, *WARNINGS, "-fsyntax-only", f"-I{HEADER.parent}", str(source)]
        run(command, f"compiling the header as {language}")


def test_the_header_says_of_every_function_what_a_caller_must_know() -> None:
    functions = header_functions()
    code = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert sorted(functions) == sorted(re.findall(r"\b(ve_\w+)\(", code)) and len(functions) >= 19
    for name, comment in functions.items():
        assert re.search(r"\* Threads: (any|one acts|reads)\b", comment), name
        returns_status = re.search(rf"VE_API ve_status {name}\(", code) is not None
        assert returns_status == ("* Errors: " in comment), name
        if re.search(rf"{name}\([^;]*\*\* ", code):  # it gives something
            assert re.search(r"belongs? to\s+(\* )?the stream|is the caller's", comment), name


def test_structures_are_laid_out_as_other_languages_see_them(tmp_path: Path) -> None:
    """Sizes and offsets that a C compiler sees are those of ctypes, field by field; sizes have no hidden padding."""
    must_have(shutil.which("cc") is not None, "cc is not installed")
    expected, lines = "", ["#include <stdio.h>", "#include <voxtral_edge.h>", "int main(void) {"]
    for name, structure in STRUCTURES.items():
        size = ctypes.sizeof(structure)
        expected += f"{name} {size}\n"
        lines.append(f'  printf("{name} %d\\n", (int)sizeof({name}));')
        for field, _ in structure._fields_:
            expected += f"{name}.{field} {getattr(structure, field).offset}\n"
            lines.append(f'  printf("{name}.{field} %d\\n", (int)offsetof({name}, {field}));')
        last = getattr(structure, structure._fields_[-1][0])
        assert size == last.offset + last.size
    source = tmp_path / "layout.c"
    source.write_text("\n".join([*lines, "  return 0;", "}", ""]))
    run(["cc", f"-I{HEADER.parent}", str(source), "-o", str(tmp_path / "layout")], "compiling")
    assert run([str(tmp_path / "layout")], "printing the layout") == expected
