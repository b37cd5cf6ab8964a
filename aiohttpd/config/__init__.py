"""Config: the options of a server, and the words that some of them are written in.

Owns names, defaults, units, help texts, and where values come from. What an option does is up to who reads it.
"""

from .fields import Config, Option, Preset, misspelt_variables, options, read_size, reference

__all__ = ["Config", "Option", "Preset", "misspelt_variables", "options", "read_size", "reference"]
