"""The runner: the program in a workload that executes one run. Standard library only."""
