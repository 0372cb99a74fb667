"""The hub as a program: serving, its control socket, its child processes, and what keeps a data folder sound."""
