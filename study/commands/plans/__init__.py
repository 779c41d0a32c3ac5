"""What a study costs before anything is trained: a grid or a design, and a search."""
