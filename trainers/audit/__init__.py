"""Measures what the theory assumes."""
