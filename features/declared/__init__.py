"""What a config declares of the logs: data, tasks, split, sessions, arms."""
