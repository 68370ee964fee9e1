"""Trainings as others see them: what they write, read while they run, and processes that are started and stopped."""
