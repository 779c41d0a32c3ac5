"""Curves: from the rows of trials to values a level, for each quantity and axis."""
