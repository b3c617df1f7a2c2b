"""What only a CPU with protection keys can show: the register itself. See conftest.py for when these tests run."""
