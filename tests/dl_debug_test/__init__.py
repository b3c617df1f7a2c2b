"""The end-to-end test bed; its Python tests are a package so that they can share bed.py."""
