# What the guest lane (tests/guest) needs besides the build itself: a runtime that does all but write PKRU. Every test that says that memory
# is closed must fail with it.
add_runtime(ia2_unswitched ${CMAKE_BINARY_DIR}/unswitched)
target_compile_definitions(ia2_unswitched PRIVATE IA2_WITHOUT_SWITCH)
