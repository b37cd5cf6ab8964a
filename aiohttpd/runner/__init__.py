"""The program: ``run()``, the command, signals, standard error, and the supervisor with its workers."""
