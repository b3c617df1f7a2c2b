"""Other glibcs: newer ones as Debian has them, and one that calls us; the suite is run with each."""
