"""Apps around an App: compression, allowed hosts."""
