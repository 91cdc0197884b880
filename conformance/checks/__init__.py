"""The checks: one file for each area, one plain function for each thing that is looked at."""
