"""Whole suites of runs: declared as data, made within a budget of minutes, resumed, and merged."""
