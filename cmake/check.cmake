# `ninja check`: every C test through ctest, then the Python tests of the host lane. Included last.
include(cmake/python.cmake)

# Everything that is built; not what only runs something.
get_directory_property(IA2_BUILT DIRECTORY ${CMAKE_SOURCE_DIR} BUILDSYSTEM_TARGETS)
list(REMOVE_ITEM IA2_BUILT dl_debug_test dl_debug_exit_phase2)

add_custom_target(check
  COMMAND ${CMAKE_COMMAND} -DCTEST=${CMAKE_CTEST_COMMAND} -DPYTHON=${IA2_PYTHON} -DSOURCE=${CMAKE_SOURCE_DIR}
          -DBUILD=${CMAKE_BINARY_DIR} -P ${CMAKE_SOURCE_DIR}/cmake/run_checks.cmake
  DEPENDS ${IA2_BUILT}
  USES_TERMINAL VERBATIM)
