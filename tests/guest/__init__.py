"""The guest lane: what is said about enforcement, where the CPU has protection keys; and that it can fail."""
