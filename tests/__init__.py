"""The tests of aiohttpd; README.md says what is where."""
