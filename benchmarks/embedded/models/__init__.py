"""The bases that are pretrained here, without network: small transformers of four layers, 64 wide."""
