# Cross-compiles for 64-bit Arm Linux and runs the tests under qemu's user mode:
#   cmake -S csrc/kernels -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake -DBUILD_TESTING=ON
# Debian packages: g++-aarch64-linux-gnu qemu-user-static. QEMU_CPU picks the core at run time: cortex-a76 (Raspberry
# Pi 5, dot product, the default here), cortex-a72 (Raspberry Pi 4, without) or max (matrix products, too).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")  # so that qemu needs no aarch64 system beside it
set(VOXTRAL_EDGE_QEMU_CPU cortex-a76 CACHE STRING "core that qemu emulates when running tests")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES VOXTRAL_EDGE_QEMU_CPU)
find_program(VOXTRAL_EDGE_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(VOXTRAL_EDGE_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${VOXTRAL_EDGE_QEMU};-cpu;${VOXTRAL_EDGE_QEMU_CPU}")
endif()
