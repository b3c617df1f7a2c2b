# tests/pku: programs and libraries that look at the register PKRU itself. They are built everywhere and run where there are
# protection keys (tests/pku/conftest.py).
set(PKU_SOURCE ${CMAKE_SOURCE_DIR}/tests/pku)
set(PKU_BINARY ${CMAKE_BINARY_DIR}/tests/pku)

# pku_target(TARGET FILE): everything beside the programs, found by $ORIGIN. -z now: ld.so has nothing to write later into
# pages that are closed by then. -fPIC for programs, too: no copy relocations.
function(pku_target target file)
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME ${file}
    RUNTIME_OUTPUT_DIRECTORY ${PKU_BINARY}
    LIBRARY_OUTPUT_DIRECTORY ${PKU_BINARY}
    BUILD_WITH_INSTALL_RPATH ON
    INSTALL_RPATH "$ORIGIN:$ORIGIN/../..")
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/runtime/libia2/include)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE ${IA2_WARNINGS} -g -O2 -fPIC
    $<$<COMPILE_LANGUAGE:C>:-std=gnu11 -Wconversion>)
  target_link_options(${target} PRIVATE -Wl,-z,now -Wl,-z,defs)
endfunction()

# pku_library(PART COMPARTMENT TYPE FILE)
function(pku_library part compartment type file)
  add_library(pku_${part} ${type} ${PKU_SOURCE}/library.c ${PKU_SOURCE}/rights.c)
  pku_target(pku_${part} ${file})
  target_compile_definitions(pku_${part} PRIVATE PART=${part} COMPARTMENT=${compartment})
endfunction()

pku_library(a 2 SHARED libpku_a)
pku_library(b 3 SHARED libpku_b)
pku_library(plugin 4 MODULE pku_plugin)

# The programs, compartment 1, one a line.
set(PKU_PROGRAMS
  alternating
  crossing
  gadgets
  keys
  kinds
  loads
  many
  nesting
  signals
  tells
  threads
)
foreach(name IN LISTS PKU_PROGRAMS)
  add_executable(pku_${name} ${PKU_SOURCE}/${name}.c ${PKU_SOURCE}/rights.c)
  pku_target(pku_${name} ${name})
  target_link_options(pku_${name} PRIVATE -pie)
  # As needed: a program that calls no library of these has none.
  target_link_options(pku_${name} PRIVATE -Wl,--as-needed)
  target_link_libraries(pku_${name} PRIVATE pku_a pku_b)
endforeach()

# The host runtime and the program under it. libia2.so is the first dependency of both.
add_library(pku_host SHARED ${PKU_SOURCE}/host.c ${PKU_SOURCE}/host_gate.S ${PKU_SOURCE}/rights.c)
pku_target(pku_host libpku_host)
target_link_libraries(pku_host PRIVATE ia2)
add_executable(pku_hosted ${PKU_SOURCE}/hosted.c ${PKU_SOURCE}/rights.c)
pku_target(pku_hosted hosted)
target_link_options(pku_hosted PRIVATE -pie -Wl,--no-as-needed)
target_link_libraries(pku_hosted PRIVATE ia2 pku_host pku_a pku_b)

# Modules by themselves, one a line.
set(PKU_MODULES
  plain
  taker
)
foreach(name IN LISTS PKU_MODULES)
  add_library(pku_${name} MODULE ${PKU_SOURCE}/${name}.c)
  pku_target(pku_${name} pku_${name})
endforeach()

# Counts instructions; a program for itself.
add_executable(pku_steps ${PKU_SOURCE}/steps.c)
pku_target(pku_steps steps)
