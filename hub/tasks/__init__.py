"""Work that outlives its request: agent tasks, their notifications, and answers in the background."""
