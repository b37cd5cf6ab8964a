"""The documentation and the README: programs and commands run, and the reference is complete."""
