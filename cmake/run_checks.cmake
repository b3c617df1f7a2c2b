# cmake -DCTEST=… -DPYTHON=… -DSOURCE=… -DBUILD=… -P run_checks.cmake
#
# Runs ctest and pytest, both even when the first fails, each with its own closing line. Fails when either does.
include(ProcessorCount)
ProcessorCount(jobs)
execute_process(COMMAND ${CTEST} --output-on-failure --no-tests=error -j ${jobs}
                WORKING_DIRECTORY ${BUILD} RESULT_VARIABLE c_tests)
execute_process(COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${SOURCE}/src IA2EXIT_LIBDIR=${BUILD}
                        ${PYTHON} -m pytest -q -n ${jobs} tests
                WORKING_DIRECTORY ${SOURCE} RESULT_VARIABLE python_tests)
if(c_tests OR python_tests)
  message(FATAL_ERROR "check: failed: ctest ended with \"${c_tests}\", pytest with \"${python_tests}\"")
endif()
