"""Importing the module that the setting ``handlers`` names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping

import structlog

from pushd.errors import CannotStart
from pushd.handlers import Handler, registered

log = structlog.get_logger("pushd.calls")


def load_handlers(module: str | None) -> Mapping[str, Handler]:
    """All handlers that exist once ``module`` is imported, by name.

    It is found where ``python -m`` run here would find it. Raises CannotStart.
    """
    if module is None:
        return {}
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        detail = f"handlers: {module} cannot be imported: {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise CannotStart(
                detail,
                cure=f"Check the name. It is looked for in the working directory ({here}), in "
                "PYTHONPATH, and among the packages that are installed beside pushd.",
            ) from error
        # With its traceback: it is the application's code that has to be mended.
        log.warning("handlers cannot be imported", module=module, exc_info=True)
        raise CannotStart(
            detail, cure=f"Mend that; 'python -c \"import {module}\"' shows the same."
        ) from error
    if not registered:
        raise CannotStart(
            f"handlers: {module} registers no handler",
            cure="Put @handler('NAME') from pushd.handlers before its async functions.",
        )
    log.info("handlers", module=module, names=sorted(registered))
    return dict(registered)
