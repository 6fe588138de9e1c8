"""Sessions: opened by service name, guarded, and what they wait for."""
