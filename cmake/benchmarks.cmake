# The C side of the micro-benchmarks; `make bench` builds and runs them (benchmarks/bench_*.py).
set(IA2_BENCHMARKS handlers loads memory spawn)
foreach(name IN LISTS IA2_BENCHMARKS)
  add_executable(bench_${name} benchmarks/${name}.c)
  set_target_properties(bench_${name} PROPERTIES
    OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/benchmarks)
  target_compile_options(bench_${name} PRIVATE ${IA2_WARNINGS} -O2 -std=gnu11)
endforeach()
