"""examples/notes as an application of ASGI; its data is in the folder that NOTES_FOLDER names."""

from aiohttpd.asgi import export
from examples.notes import app

exported_notes = export(app)
