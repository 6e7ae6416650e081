# add_test_program(name files…): an executable of the tests. Compiling them from nothing is half of the test run, so they
# stay at -O1, whatever the libraries under test have, and read the standard headers once, precompiled (1.2 of 2.1 s per
# file). A compiler launcher such as ccache keeps the objects instead and would not with precompiled headers.
include_guard(GLOBAL)

function(add_test_program name)
  add_executable(${name} ${ARGN})
  target_compile_options(${name} PRIVATE -Wall -Wextra -O1)
  if(CMAKE_CXX_COMPILER_LAUNCHER)
    return()
  endif()
  get_property(first GLOBAL PROPERTY VOXTRAL_EDGE_FIRST_TEST_PROGRAM)
  if(first)
    target_precompile_headers(${name} REUSE_FROM ${first})
  else()
    target_precompile_headers(${name} PRIVATE <algorithm> <atomic> <cmath> <filesystem> <fstream> <functional> <limits>
      <map> <memory> <random> <sstream> <string> <thread> <vector>)
    set_property(GLOBAL PROPERTY VOXTRAL_EDGE_FIRST_TEST_PROGRAM ${name})
  endif()
endfunction()
