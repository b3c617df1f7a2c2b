# cmake -DIA2_SANITIZER=address|undefined: everything is built with that sanitizer (scripts/run_with_asan.sh). Included
# last of all, when every target is known.
#
# AddressSanitizer works in libia2.so itself, although that is initialised before libasan: gcc gives each object a
# constructor that calls __asan_init, and .init_array runs it before the runtime's own. Only global variables are not
# watched there and in the test beds: describing them brings a destructor into each object, and the runtime must have
# none, while those of the test beds are counted. The unit tests compile the runtime's sources in and watch everything.
# Nor is stack memory watched after a return there: that asks a variable of libasan, which a program may hold a copy of, among
# the data that the runtime closes.
#
# UndefinedBehaviorSanitizer speaks up in the unit tests only. Its library allocates and uses stdio, and it would be one
# more object in each process: libia2.so and the test beds trap instead (SIGILL), which no test takes for a success.
set(IA2_SANITIZER "" CACHE STRING "address, undefined or nothing")
set_property(CACHE IA2_SANITIZER PROPERTY STRINGS "" address undefined)
if(IA2_SANITIZER STREQUAL "")
  return()
elseif(NOT IA2_SANITIZER MATCHES "^(address|undefined)$")
  message(FATAL_ERROR "IA2_SANITIZER=${IA2_SANITIZER}: expected address or undefined")
endif()

function(ia2_sanitize target)
  if(target MATCHES "^(pku|bench)_")
    set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL TRUE)
  endif()
  if(target MATCHES "_tsan$" OR target MATCHES "^bench_")
    return()  # ThreadSanitizer and this one exclude each other; a benchmark's figures would mean nothing
  endif()
  if(target STREQUAL "ia2_audit" AND IA2_SANITIZER STREQUAL "address")
    return()  # in its namespace there is no libc that libasan could live on
  endif()
  set(flags -fsanitize=${IA2_SANITIZER} -fno-omit-frame-pointer)
  if(target MATCHES "^unit_")
    list(APPEND flags -fno-sanitize-recover=all)
  elseif(IA2_SANITIZER STREQUAL "address")
    list(APPEND flags "SHELL:--param asan-globals=0" "SHELL:--param asan-use-after-return=0")
  else()
    list(APPEND flags -fsanitize-undefined-trap-on-error -fno-sanitize=vptr)
  endif()
  target_compile_options(${target} PRIVATE "$<$<NOT:$<COMPILE_LANGUAGE:ASM>>:${flags}>")
  get_target_property(type ${target} TYPE)
  if(NOT type STREQUAL "OBJECT_LIBRARY" AND (IA2_SANITIZER STREQUAL "address" OR target MATCHES "^unit_"))
    target_link_options(${target} PRIVATE -fsanitize=${IA2_SANITIZER})
  endif()
endfunction()

get_directory_property(targets DIRECTORY ${CMAKE_SOURCE_DIR} BUILDSYSTEM_TARGETS)
foreach(target IN LISTS targets)
  get_target_property(type ${target} TYPE)
  if(NOT type STREQUAL "UTILITY")
    ia2_sanitize(${target})
  endif()
endforeach()
