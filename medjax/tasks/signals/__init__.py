"""Events in signals, such as heart beats in an ECG."""
