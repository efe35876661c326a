"""The parts an OCI image is made of: base, layers, configuration and the archive that holds them."""
