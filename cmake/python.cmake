# IA2_PYTHON: the Python that builds exit maps and runs the Python tests; the project's own environment when there is one.
include_guard()
find_program(IA2_PYTHON NAMES python3 python HINTS ${CMAKE_SOURCE_DIR}/.venv/bin
             DOC "Python 3.11 or later with the package's dev extras" NO_DEFAULT_PATH)
if(NOT IA2_PYTHON)
  find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
  set(IA2_PYTHON ${Python3_EXECUTABLE})
endif()
