"""Files: what a folder holds, as answers of RFC 9110.

``handler`` answers requests, out of ``content`` (what leaves) and ``listing`` (folders). ``store`` knows
representations and keeps the small ones; ``tree`` opens nothing outside of the root. ``conditions``,
``ranges`` and ``negotiation`` are rules of RFC 9110 and see no file.
"""
