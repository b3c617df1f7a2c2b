# tests/dl_debug_test: the end-to-end test bed.
