"""Anomaly detection: autoencoders and networks trained on synthetic anomalies."""
