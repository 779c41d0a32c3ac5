"""A study as its YAML file states it: sections, axes, laws, messages."""
