"""`python -m bench`: what penstock costs, beside what a program would do without it. Not installed."""
