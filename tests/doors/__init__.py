"""The package's ways in: the command, its options and variables, the names of the package."""
