"""The graded implementations of *From Likelihood to Diffusion*: one module a chapter, and the ground floor."""
