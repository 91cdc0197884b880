"""The conformance suite for executor bridges: reserved, it arrives with its own requirements and proofs."""
