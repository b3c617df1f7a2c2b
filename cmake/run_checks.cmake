# cmake -DCTEST=… -DPYTHON=… -DSOURCE=… -DBUILD=… -P run_checks.cmake
#
# Runs ctest and pytest, both even when the first fails, each with its own closing line. Fails when either does.
include(ProcessorCount)
ProcessorCount(jobs)
set(lane ${BUILD}/lanes/host) # what tests/guest/lane.py reports
file(REMOVE_RECURSE ${lane})
execute_process(COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${SOURCE}/src ${PYTHON} -m tests.guest.place ${lane}
                WORKING_DIRECTORY ${SOURCE} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CTEST} --output-on-failure --no-tests=error -j ${jobs} --output-junit ${lane}/c.xml
                WORKING_DIRECTORY ${BUILD} RESULT_VARIABLE c_tests)
execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=PYTHONDONTWRITEBYTECODE
                        PYTHONPATH=${SOURCE}/src IA2EXIT_LIBDIR=${BUILD} ${PYTHON} -m pytest -q -n ${jobs} --junitxml=${lane}/python.xml tests
                WORKING_DIRECTORY ${SOURCE} RESULT_VARIABLE python_tests)
if(c_tests OR python_tests)
  message(FATAL_ERROR "check: failed: ctest ended with \"${c_tests}\", pytest with \"${python_tests}\"")
endif()
