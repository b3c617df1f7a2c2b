# `ninja check`: every C test through ctest, then the Python tests of the host lane. Included last.
include(cmake/python.cmake)

get_directory_property(IA2_BUILT DIRECTORY ${CMAKE_SOURCE_DIR} BUILDSYSTEM_TARGETS)
list(FILTER IA2_BUILT EXCLUDE REGEX "^dl_debug_test$")
set(IA2_PROGRAMS "")
foreach(target IN LISTS IA2_BUILT)
  get_target_property(type ${target} TYPE)
  if(type MATCHES "EXECUTABLE|_LIBRARY")
    list(APPEND IA2_PROGRAMS ${target})
  endif()
endforeach()

add_custom_target(check_c
  COMMAND ${CMAKE_CTEST_COMMAND} --output-on-failure --no-tests=error
  DEPENDS ${IA2_PROGRAMS}
  USES_TERMINAL VERBATIM)
add_custom_target(check
  COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${CMAKE_SOURCE_DIR}/src IA2EXIT_LIBDIR=${CMAKE_BINARY_DIR}
          ${IA2_PYTHON} -m pytest -q -n auto --rootdir ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  DEPENDS check_c
  USES_TERMINAL VERBATIM)
