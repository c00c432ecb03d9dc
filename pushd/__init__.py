"""pushd: a durable push server in one program.

The flow, one package after another: publish -> log -> hint (fanout) -> pull.
"""

__version__ = "0.1.0"
