"""Packs, arithmetic, memory and time before anything trains."""
