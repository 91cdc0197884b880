"""Faulty bridges: each is the reference with one fault, and each is caught by the requirement that it breaks."""

MUTANTS = {}
