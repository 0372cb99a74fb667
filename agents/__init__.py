"""The agent side of A2A: cards, tasks and the executor that runs skills for other agents."""
