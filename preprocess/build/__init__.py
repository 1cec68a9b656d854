"""Building a store: settings, plan, tasks on any backend, index, updates and repairs."""
