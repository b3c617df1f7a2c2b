# tests/dl_debug_test: the end-to-end test bed, its exit map, and the tests that watch it.
#
#   ninja dl_debug_test      builds it, then runs it with tracing on and off
#   ctest dl_debug_*         the Criterion suite `dl_debug`, one ctest for each test of it
#   ctest dl_debug_exit_phase0   the test bed exits with status 0
#   ninja dl_debug_exit_phase2   builds it, then checks every transition of PKRU under every backend; so does the ctest
include(cmake/python.cmake)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)

set(DL_DEBUG_SOURCE ${CMAKE_SOURCE_DIR}/tests/dl_debug_test)
set(DL_DEBUG_BINARY ${CMAKE_BINARY_DIR}/tests/dl_debug_test)

# ---- the objects ----------------------------------------------------------------------------------------------------

# What all of them have: warnings as errors; the code that compilers make for a release, whatever the build type;
# everything beside the program, found by $ORIGIN, and libia2.so in the build folder two levels up.
function(dl_debug_target target)
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${DL_DEBUG_BINARY}
    LIBRARY_OUTPUT_DIRECTORY ${DL_DEBUG_BINARY}
    POSITION_INDEPENDENT_CODE ON
    BUILD_WITH_INSTALL_RPATH ON
    INSTALL_RPATH "$ORIGIN:$ORIGIN/../..")
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/runtime/libia2/include)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE ${IA2_WARNINGS} -g -O2
    $<$<COMPILE_LANGUAGE:C>:-std=gnu11> $<$<COMPILE_LANGUAGE:CXX>:-std=c++17>)
  target_link_options(${target} PRIVATE -Wl,--enable-new-dtags -Wl,-z,defs)
endfunction()

# dl_debug_object(NAME SHARED|MODULE FILE SOURCE [FINI]): an object that main loads; FINI is its DT_FINI function.
function(dl_debug_object name type file source)
  add_library(dl_debug_${name} ${type} ${DL_DEBUG_SOURCE}/${source})
  dl_debug_target(dl_debug_${name})
  set_target_properties(dl_debug_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${file})
  if(NOT name STREQUAL "log")
    target_link_libraries(dl_debug_${name} PRIVATE dl_debug_log)
  endif()
  if(ARGC GREATER 4)
    target_link_options(dl_debug_${name} PRIVATE -Wl,-fini=${ARGV4})
  endif()
endfunction()

dl_debug_object(log SHARED libdl_debug_log log.c)
target_sources(dl_debug_log PRIVATE ${DL_DEBUG_SOURCE}/rights.c)
dl_debug_object(library SHARED libdl_debug_library library.c library_fini)
dl_debug_object(library_cxx SHARED libdl_debug_library_cxx library_cxx.cpp library_cxx_fini)
dl_debug_object(library_vague SHARED libdl_debug_library_vague library_vague.cpp)
dl_debug_object(plugin_resident MODULE plugin_resident plugin_resident.c plugin_resident_fini)
dl_debug_object(plugin_unloaded MODULE plugin_unloaded plugin_unloaded.c plugin_unloaded_fini)

# The search order is the order of these libraries: library_cxx before library_vague (inline_variable.hpp).
set(DL_DEBUG_LIBRARIES dl_debug_library dl_debug_library_cxx dl_debug_library_vague dl_debug_log)

# The program twice from the same object files: with libia2.so as first DT_NEEDED, and without it.
add_library(dl_debug_main OBJECT
  ${DL_DEBUG_SOURCE}/main.c
  ${DL_DEBUG_SOURCE}/plugins.c
  ${DL_DEBUG_SOURCE}/scenarios.c
  ${DL_DEBUG_SOURCE}/scenarios_objects.c
  ${DL_DEBUG_SOURCE}/scenarios_threads.c)
dl_debug_target(dl_debug_main)

function(dl_debug_program target file)
  add_executable(${target} $<TARGET_OBJECTS:dl_debug_main>)
  dl_debug_target(${target})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${file} LINKER_LANGUAGE C)
  target_link_options(${target} PRIVATE -pie -Wl,--no-as-needed -Wl,-fini=main_fini)
  target_link_libraries(${target} PRIVATE ${ARGN} ${DL_DEBUG_LIBRARIES})
  add_dependencies(${target} dl_debug_plugin_resident dl_debug_plugin_unloaded)
endfunction()

dl_debug_program(dl_debug_test_vanilla_program dl_debug_test_vanilla)
dl_debug_program(dl_debug_test_program dl_debug_test ia2)

# A program that calls the public interface.
add_executable(dl_debug_probe ${DL_DEBUG_SOURCE}/probe.c)
dl_debug_target(dl_debug_probe)
target_link_libraries(dl_debug_probe PRIVATE ia2 dl_debug_library)
add_dependencies(dl_debug_probe dl_debug_plugin_resident)

# A program whose destructors write to each other's memory.
add_executable(dl_debug_stray ${DL_DEBUG_SOURCE}/stray.c)
dl_debug_target(dl_debug_stray)
target_link_options(dl_debug_stray PRIVATE -Wl,--no-as-needed -Wl,-fini=strayer_fini)
target_link_libraries(dl_debug_stray PRIVATE ia2 dl_debug_library dl_debug_library_cxx dl_debug_log)
add_dependencies(dl_debug_stray dl_debug_plugin_resident dl_debug_plugin_unloaded)

# Two objects in two compartments that it loads and unloads again and again.
foreach(compartment IN ITEMS 6 7)
  add_library(dl_debug_fini_plugin_${compartment} MODULE ${DL_DEBUG_SOURCE}/fini_plugin.c)
  dl_debug_target(dl_debug_fini_plugin_${compartment})
  set_target_properties(dl_debug_fini_plugin_${compartment} PROPERTIES PREFIX "" OUTPUT_NAME fini_plugin_${compartment})
  target_compile_definitions(dl_debug_fini_plugin_${compartment} PRIVATE COMPARTMENT=${compartment})
endforeach()
add_executable(dl_debug_compartment_fini ${DL_DEBUG_SOURCE}/compartment_fini.c)
dl_debug_target(dl_debug_compartment_fini)
set_target_properties(dl_debug_compartment_fini PROPERTIES OUTPUT_NAME compartment_fini)
target_link_options(dl_debug_compartment_fini PRIVATE -Wl,--no-as-needed)
target_link_libraries(dl_debug_compartment_fini PRIVATE ia2)
add_dependencies(dl_debug_compartment_fini dl_debug_fini_plugin_6 dl_debug_fini_plugin_7 ia2_audit)

# ---- the exit map ---------------------------------------------------------------------------------------------------

set(DL_DEBUG_MAP ${DL_DEBUG_BINARY}/dl_debug_test.map)
set(DL_DEBUG_POLICY ${DL_DEBUG_SOURCE}/dl_debug_test.toml)
set(DL_DEBUG_OBJECTS
  $<TARGET_FILE:dl_debug_test_program> $<TARGET_FILE:dl_debug_plugin_resident> $<TARGET_FILE:dl_debug_plugin_unloaded>)
set(DL_DEBUG_PYTHON ${CMAKE_COMMAND} -E env PYTHONPATH=${CMAKE_SOURCE_DIR}/src ${IA2_PYTHON} -m ia2exit)
file(GLOB_RECURSE DL_DEBUG_PACKAGE CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/ia2exit/*.py)
add_custom_command(
  OUTPUT ${DL_DEBUG_MAP} ${DL_DEBUG_MAP}.json
  COMMAND ${DL_DEBUG_PYTHON} map -q -p ${DL_DEBUG_POLICY} ${DL_DEBUG_OBJECTS} -o ${DL_DEBUG_MAP}.json
  COMMAND ${DL_DEBUG_PYTHON} map -q -p ${DL_DEBUG_POLICY} --binary ${DL_DEBUG_OBJECTS} -o ${DL_DEBUG_MAP}
  DEPENDS ${DL_DEBUG_POLICY} dl_debug_test_program dl_debug_plugin_resident dl_debug_plugin_unloaded
          ${DL_DEBUG_LIBRARIES} ${DL_DEBUG_PACKAGE}
  COMMENT "Exit map of the test bed"
  VERBATIM)
add_custom_target(dl_debug_map ALL DEPENDS ${DL_DEBUG_MAP} ${DL_DEBUG_MAP}.json)

# ---- ninja dl_debug_test: as it stands, tracing on and off ------------------------------------------------------------

add_custom_target(dl_debug_test
  COMMAND ${CMAKE_COMMAND} -E env IA2_TRACE_EXIT=1 IA2_EXIT_MAP=${DL_DEBUG_MAP} $<TARGET_FILE:dl_debug_test_program>
  COMMAND ${CMAKE_COMMAND} -E env --unset=IA2_TRACE_EXIT $<TARGET_FILE:dl_debug_test_program>
  DEPENDS dl_debug_test_program dl_debug_test_vanilla_program dl_debug_map
  USES_TERMINAL VERBATIM)

# ---- tests ------------------------------------------------------------------------------------------------------------

add_test(NAME dl_debug_exit_phase0 COMMAND dl_debug_test_program)
set_tests_properties(dl_debug_exit_phase0 PROPERTIES TIMEOUT ${IA2_TEST_TIMEOUT})

set(DL_DEBUG_SUITE dl_debug_compartment_fini.c dl_debug_kinds.c dl_debug_map.c dl_debug_moments.c dl_debug_order.c dl_debug_transitions.c)
list(TRANSFORM DL_DEBUG_SUITE PREPEND ${DL_DEBUG_SOURCE}/)
add_executable(dl_debug ${DL_DEBUG_SUITE}
  ${DL_DEBUG_SOURCE}/check.c ${DL_DEBUG_SOURCE}/expected.c ${DL_DEBUG_SOURCE}/trace.c ${DL_DEBUG_SOURCE}/transitions.c)
set_target_properties(dl_debug PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${DL_DEBUG_BINARY})
target_include_directories(dl_debug PRIVATE ${CMAKE_SOURCE_DIR}/runtime/libia2)
target_compile_definitions(dl_debug PRIVATE _GNU_SOURCE
  DL_DEBUG_PROGRAM="$<TARGET_FILE:dl_debug_test_program>"
  DL_DEBUG_PROBE="$<TARGET_FILE:dl_debug_probe>"
  DL_DEBUG_STRAY="$<TARGET_FILE:dl_debug_stray>"
  DL_DEBUG_COMPARTMENT_FINI="$<TARGET_FILE:dl_debug_compartment_fini>"
  DL_DEBUG_AUDIT="$<TARGET_FILE:ia2_audit>"
  DL_DEBUG_MAP_JSON="${DL_DEBUG_MAP}.json"
  DL_DEBUG_MAP_BINARY="${DL_DEBUG_MAP}")
target_compile_options(dl_debug PRIVATE ${IA2_WARNINGS} -g -O1 -std=gnu11)
target_link_libraries(dl_debug PRIVATE PkgConfig::CRITERION PkgConfig::JANSSON)
add_dependencies(dl_debug dl_debug_test_program dl_debug_probe dl_debug_stray dl_debug_compartment_fini dl_debug_map)

# ---- ninja dl_debug_exit_phase2: every transition, read from the log ------------------------------------------------

set(DL_DEBUG_PHASE2 $<TARGET_FILE:dl_debug> --jobs 1 --filter "dl_debug/transitions_*")
add_custom_target(dl_debug_exit_phase2 COMMAND ${DL_DEBUG_PHASE2} DEPENDS dl_debug USES_TERMINAL VERBATIM)
add_test(NAME dl_debug_exit_phase2 COMMAND ${DL_DEBUG_PHASE2})
set_tests_properties(dl_debug_exit_phase2 PROPERTIES TIMEOUT 600 FAIL_REGULAR_EXPRESSION "Tested: 0 ")

# ---- one ctest for each test ----------------------------------------------------------------------------------------

# One ctest for each Test(dl_debug, NAME) in the sources, so that neither list can forget one.
foreach(source IN LISTS DL_DEBUG_SUITE)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(STRINGS ${source} tests REGEX "^Test\\(dl_debug, [a-z0-9_]+\\)")
  foreach(test IN LISTS tests)
    string(REGEX REPLACE "^Test\\(dl_debug, ([a-z0-9_]+)\\).*" "\\1" test "${test}")
    add_test(NAME dl_debug_${test} COMMAND dl_debug --jobs 1 --filter dl_debug/${test})
    # They run on an emulated CPU, too.
    set_tests_properties(dl_debug_${test} PROPERTIES TIMEOUT 600
      FAIL_REGULAR_EXPRESSION "Tested: 0 ")
  endforeach()
endforeach()
