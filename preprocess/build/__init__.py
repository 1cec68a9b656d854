"""The offline run: settings, plan, tasks on any backend, the index; updates and repairs."""
