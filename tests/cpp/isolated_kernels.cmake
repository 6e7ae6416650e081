# cmake -DNM=… -DFOLDER=avx2 -DOBJECTS="a.o;b.o" -P isolated_kernels.cmake
#
# One binary serves every CPU because code built for more instructions runs only after the CPU was asked. An inline
# function or template shared with other files would break that: the linker keeps one copy, maybe the one that older
# CPUs cannot run. So every function an instruction set's object offers for merging (weak, nm's W) must name the
# instruction set, which mangling writes with its length before it: 4avx2.
set(checked 0)
string(LENGTH ${FOLDER} length)
foreach(object ${OBJECTS})
  if(NOT object MATCHES "/${FOLDER}/[^/]*$")
    continue()
  endif()
  execute_process(COMMAND ${NM} --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  math(EXPR checked "${checked} + 1")
  string(REGEX MATCHALL "[0-9a-f]+ W [^\n]+" weak "${symbols}")
  foreach(symbol ${weak})
    if(NOT symbol MATCHES "${length}${FOLDER}")
      message(SEND_ERROR "${object}: ${symbol} is compiled for ${FOLDER} but not named after it")
    endif()
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no object of ${FOLDER} was given")
endif()
