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
  target_compile_options(${target} PRIVATE ${IA2_WARNINGS} -Wconversion -g -O2 -fPIC -std=gnu11)
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
  target_link_libraries(pku_${name} PRIVATE pku_a pku_b)
endforeach()

# Modules by themselves, one a line.
set(PKU_MODULES
  plain
  taker
)
foreach(name IN LISTS PKU_MODULES)
  add_library(pku_${name} MODULE ${PKU_SOURCE}/${name}.c)
  pku_target(pku_${name} pku_${name})
endforeach()
