"""`python -m bench --peers`: penstock beside other libraries that carry bytes between processes of Python.

A file for each rival (how its own documentation says that it is used fast), a file for each discipline, and in `flow`
what they have in common. A rival that is not installed is left out, with a line that says so.
"""
