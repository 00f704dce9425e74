"""The graded implementations: one module a chapter, and the ground floor."""
