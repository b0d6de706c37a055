"""The service: a trained run that predicts over HTTP."""
