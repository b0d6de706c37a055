"""The loop and what it stands on: task, state, step, optimisers, sharding, checkpoints, metrics, logs."""
