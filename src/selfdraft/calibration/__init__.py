"""Thresholds of exits, and what is promised of them: numbers alone, no torch."""
