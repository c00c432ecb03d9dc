"""What pushd decides, without I/O, clock or Trio: bytes, numbers and time come in as arguments."""
