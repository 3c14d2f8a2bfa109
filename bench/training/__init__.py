"""What trains the models: cells on disk, gene vectors, schedules and loops."""
