"""The settings of pushd: declared once, read from file, environment and options, documented."""

from pushd.settings.addresses import Address
from pushd.settings.jwt_tables import JwtTable
from pushd.settings.load import Loaded, load
from pushd.settings.model import Settings
from pushd.settings.namespaces import Namespace
from pushd.settings.tables import ApiKeyTable

__all__ = ["Address", "ApiKeyTable", "JwtTable", "Loaded", "Namespace", "Settings", "load"]
