"""Config: the options of a server, with their defaults, units and help texts, and how they are read from text.

What an option does is in the module that uses it.
"""

from .fields import Config, Option, Preset, misspelt_variables, options, read_size

__all__ = ["Config", "Option", "Preset", "misspelt_variables", "options", "read_size"]
