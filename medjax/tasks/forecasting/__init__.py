"""Forecasting of measurements and events from visits."""
