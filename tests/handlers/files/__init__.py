"""A file as an answer: which file, which representation, conditions, ranges, media types."""
