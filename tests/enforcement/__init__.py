"""What a destructor may touch, and what becomes of it when it touches more: own programs, every mode and backend."""
