"""The parts of the flows: tasks, commands, the order of the stages, the pages of a run."""
