"""From a network to samples, and how good they are (docs/theory.md, section 14)."""
