"""The program: ``run()``, the command, the import of Apps, signals, stderr, and the supervisor with its workers."""
