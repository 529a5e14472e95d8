"""Echo servers that are compared, the handler they call, and the load client."""
