"""Event loops of asyncio that are compared: how to choose one, servers on it, work for it."""
