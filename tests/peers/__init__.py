"""The program beside parts that nobody here wrote: `make peers` installs them, runs against them and prints a table."""
