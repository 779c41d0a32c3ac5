"""Networks that are kept: which, and their files."""
