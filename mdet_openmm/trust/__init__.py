"""How far a force field without built-in symmetry or energy can be trusted, in numbers."""
