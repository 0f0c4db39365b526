"""The jobs a user runs, one file each."""
