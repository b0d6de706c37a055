"""Treatment effects and personalised treatment."""
