# The C side of the micro-benchmarks; `make bench` builds and runs them (benchmarks/bench_*.py).
