"""What people and machines read: all made from one `RunVerdict`."""
