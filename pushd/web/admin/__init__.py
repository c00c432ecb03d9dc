"""The operations of administrators, one module per thing that they are about."""
