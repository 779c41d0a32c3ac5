"""Laws of the user's own: their class, its check, and the file that `init` writes."""
