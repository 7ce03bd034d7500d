"""Small wrongs, one at a time, that the suite must notice: `python -m tests.mutants`.

catalogue.py  the mutants of the `*.toml` beside it, and what is wrong with a list that fell behind the sources
warm.py       pytest that need not load the libraries for every mutant again
trial.py      a copy of the tree with one mutant in it, and what the tests named by the mutant say
"""
