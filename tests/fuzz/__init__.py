"""Differential fuzzing of the engines: `python -m tests.fuzz --minutes N`.

`cases` and `planted` make queries of many kinds, planted ones with the true optimum; `examine` has them
answered by all engines and searches for contradictions; `tally` counts.
"""
