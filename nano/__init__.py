"""The nano family: small models of the real architectures, trained from scratch on the embedded world."""
