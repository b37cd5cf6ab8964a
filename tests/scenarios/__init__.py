"""Real sockets and several layers at once: slow peers, transfers, forks, attacks, the examples."""
