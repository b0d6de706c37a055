"""The train loop and what it needs: contracts, state, step, optimisers, sharding, checkpoints, logs."""
