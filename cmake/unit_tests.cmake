# C tests of one part at a time, each a Criterion program: tests/unit/NAME.c becomes the ctest `unit_NAME`.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

# Seconds that one C test may take before ctest ends it.
set(IA2_TEST_TIMEOUT 60)

# ia2_unit_test(NAME [SOURCE...]): builds tests/unit/NAME.c with the runtime's sources named (relative to
# runtime/libia2; they are compiled into the test, so that it reaches what libia2.so hides) and adds it to ctest.
function(ia2_unit_test name)
  set(sources ${ARGN})
  list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/runtime/libia2/)
  add_executable(unit_${name} ${CMAKE_SOURCE_DIR}/tests/unit/${name}.c ${sources} ${IA2_SHARED_OBJECTS_H})
  set_target_properties(unit_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/unit)
  target_include_directories(unit_${name} PRIVATE
    ${CMAKE_SOURCE_DIR}/runtime/libia2 ${CMAKE_SOURCE_DIR}/runtime/libia2/include ${CMAKE_BINARY_DIR}/generated)
  target_compile_definitions(unit_${name} PRIVATE _GNU_SOURCE IA2_VERSION_STRING="${PROJECT_VERSION}")
  target_compile_options(unit_${name} PRIVATE ${IA2_WARNINGS} -g -O1 -fcf-protection=full $<$<COMPILE_LANGUAGE:C>:-std=gnu11>)
  target_link_libraries(unit_${name} PRIVATE PkgConfig::CRITERION PkgConfig::JANSSON PkgConfig::ZLIB)
  add_test(NAME unit_${name} COMMAND unit_${name} --jobs 2)
  set_tests_properties(unit_${name} PROPERTIES TIMEOUT ${IA2_TEST_TIMEOUT})
endfunction()

# The exit map in memory, and what its tests share.
set(IA2_MAP_SOURCES map.c map_check.c map_image.c map_seal.c map_tables.c secret.c siphash.c system.c
  ../../tests/unit/map_builder.c)

# Stacks of interrupted code.
set(IA2_UNWIND_SOURCES cfi.c cfi_expression.c cfi_find.c guard.S guard.c unwind.c)

# ---- the tests, one a line: ia2_unit_test(crc32 crc32.c) ------------------------------------------------------------
ia2_unit_test(cfi ${IA2_UNWIND_SOURCES})
ia2_unit_test(changes changes.c system.c thread.c)
ia2_unit_test(config config.c system.c)
ia2_unit_test(cookies cookies.c sealed.c system.c)
ia2_unit_test(dynamic dynamic.c peek.c symbols.c system.c)
ia2_unit_test(mappings mappings.c system.c)
ia2_unit_test(peek peek.c system.c)
ia2_unit_test(pieces mappings.c pieces.c system.c)
ia2_unit_test(events_fault ${IA2_UNWIND_SOURCES}
  event_line.c events_fault.c fault_words.c line.c records.c sealed.c secret.c siphash.c stack.c system.c unloaded.c)
ia2_unit_test(frame frame.c sealed.c system.c)
ia2_unit_test(guard guard.S guard.c)
ia2_unit_test(hang hang.c tasks.c)
ia2_unit_test(line line.c system.c)
ia2_unit_test(system system.c)
ia2_unit_test(map ${IA2_MAP_SOURCES})
ia2_unit_test(map_image ${IA2_MAP_SOURCES})
ia2_unit_test(map_lookup ${IA2_MAP_SOURCES})
ia2_unit_test(map_resident ${IA2_MAP_SOURCES})
ia2_unit_test(map_structure ${IA2_MAP_SOURCES})
ia2_unit_test(records records.c sealed.c secret.c siphash.c system.c)
ia2_unit_test(records_sealed records.c sealed.c secret.c siphash.c system.c)
ia2_unit_test(redirect redirect.c stubs.S system.c)
ia2_unit_test(secret secret.c siphash.c system.c)
ia2_unit_test(siphash siphash.c)
ia2_unit_test(next dynamic.c next.c peek.c symbols.c system.c)
ia2_unit_test(nh)
ia2_unit_test(sink sink.c system.c)
ia2_unit_test(stack stack.c)
ia2_unit_test(stubs stubs.S)
ia2_unit_test(switch sealed.c switch.S system.c thread.c)
ia2_unit_test(switch_unwind ${IA2_UNWIND_SOURCES} sealed.c switch.S system.c thread.c)
ia2_unit_test(thread system.c thread.c)
ia2_unit_test(unwind ${IA2_UNWIND_SOURCES} ../../tests/unit/unwind_cxx.cpp)
ia2_unit_test(unwind_steps ${IA2_UNWIND_SOURCES})
ia2_unit_test(words system.c words.c)

# System calls under dispatch. The test stands in for the rest of the runtime; what it calls in libc is dispatched.
set(IA2_DISPATCH_SOURCES dispatch.c peek.c syscall_args.c syscall_masks.c syscall_perform.c syscall_table.c
  syscall_transfer.c system.c trampolines.S ../../tests/unit/dispatch_guest.c)
ia2_unit_test(dispatch_calls ${IA2_DISPATCH_SOURCES})
ia2_unit_test(dispatch_children ${IA2_DISPATCH_SOURCES})
ia2_unit_test(dispatch_faults ${IA2_DISPATCH_SOURCES})
ia2_unit_test(dispatch_signals ${IA2_DISPATCH_SOURCES} ${IA2_UNWIND_SOURCES})
ia2_unit_test(syscall_args peek.c syscall_args.c syscall_table.c system.c)

# The same for unmodified programs (test_dispatch_programs.py).
set(sources ${IA2_DISPATCH_SOURCES})
list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/runtime/libia2/)
add_library(dispatch_preload SHARED ${CMAKE_SOURCE_DIR}/tests/unit/dispatch_preload.c ${sources})
set_target_properties(dispatch_preload PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/unit)
target_include_directories(dispatch_preload PRIVATE ${CMAKE_SOURCE_DIR}/runtime/libia2)
target_compile_definitions(dispatch_preload PRIVATE _GNU_SOURCE)
target_compile_options(dispatch_preload PRIVATE
  ${IA2_WARNINGS} -g -O2 -fcf-protection=full -fPIC $<$<COMPILE_LANGUAGE:C>:-std=gnu11 -fvisibility=hidden -ftls-model=initial-exec>)

# Several threads at once, as plain programs: ThreadSanitizer and Criterion's worker processes do not go together. Twice each.
function(ia2_threads_test program)
  set(sources ${ARGN})
  list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/runtime/libia2/)
  foreach(sanitizer none thread)
    set(name unit_${program})
    if(sanitizer STREQUAL "thread")
      set(name unit_${program}_tsan)
    endif()
    add_executable(${name} ${CMAKE_SOURCE_DIR}/tests/unit/${program}.c ${sources})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/unit)
    target_include_directories(${name} PRIVATE
      ${CMAKE_SOURCE_DIR}/runtime/libia2 ${CMAKE_SOURCE_DIR}/runtime/libia2/include)
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    target_compile_options(${name} PRIVATE ${IA2_WARNINGS} -g -O2 -std=gnu11)
    if(sanitizer STREQUAL "thread")
      target_compile_options(${name} PRIVATE -fsanitize=thread)
      target_link_options(${name} PRIVATE -fsanitize=thread)
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${IA2_TEST_TIMEOUT})
  endforeach()
endfunction()
ia2_threads_test(changes_threads changes.c system.c thread.c)
ia2_threads_test(records_threads records.c sealed.c secret.c siphash.c system.c)

# The runtime itself under ThreadSanitizer, for test_threads_sanitized.py.
add_runtime(ia2_tsan ${CMAKE_BINARY_DIR}/tsan)
target_compile_options(ia2_tsan PRIVATE $<$<COMPILE_LANGUAGE:C>:-fsanitize=thread>)
target_link_options(ia2_tsan PRIVATE -fsanitize=thread -Wl,--version-script=${CMAKE_SOURCE_DIR}/tests/unit/without_hooks_of_tsan.map)
set_target_properties(ia2_tsan PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/without_hooks_of_tsan.map)

# A million pointers into libia2.so itself, as a plain program: it starts itself again under a map that it has made.
add_executable(unit_lookup_pointers
  ${CMAKE_SOURCE_DIR}/tests/unit/lookup_pointers.c ${CMAKE_SOURCE_DIR}/tests/unit/lookup_map.c)
set_target_properties(unit_lookup_pointers PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/unit)
target_include_directories(unit_lookup_pointers PRIVATE ${CMAKE_SOURCE_DIR}/runtime/libia2)
target_compile_definitions(unit_lookup_pointers PRIVATE _GNU_SOURCE)
target_compile_options(unit_lookup_pointers PRIVATE ${IA2_WARNINGS} -g -O1 -std=gnu11)
target_link_options(unit_lookup_pointers PRIVATE -Wl,--no-as-needed)
target_link_libraries(unit_lookup_pointers PRIVATE ia2 PkgConfig::ZLIB)
add_test(NAME unit_lookup_pointers COMMAND unit_lookup_pointers)
set_tests_properties(unit_lookup_pointers PROPERTIES TIMEOUT ${IA2_TEST_TIMEOUT})
