"""Drawing: what a figure shows, as numbers, and matplotlib figures, files and inline SVG of it."""
