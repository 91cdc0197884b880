"""Nodes that the tests run, in a module that worker processes can import."""
