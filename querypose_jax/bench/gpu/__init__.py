"""What scripts/gpu_report.py measures: each row is a function of a Sheet, and runs in a process of its own."""
