"""The program with other software: `make peers` installs it, runs the tests and prints a table."""
