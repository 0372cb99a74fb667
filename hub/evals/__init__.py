"""Evals: suites of test cases, asked of live models, scored, counted with what they cost, and compared."""
