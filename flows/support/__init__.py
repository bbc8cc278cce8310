"""What the flows are made of: tasks, commands, the DAG, what a run's page shows."""
