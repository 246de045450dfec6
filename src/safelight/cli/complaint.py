"""What a person at the terminal can put right: said in one line on standard error, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from safelight.domain.errors import SafelightError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from safelight.settings import Settings


class Complaint(SafelightError):
    """The command cannot go on; the message says what to do."""

    slug = "complaint"


def complain(error: SafelightError) -> None:
    """One line on standard error."""
    print("safelight:", *str(error).split(), file=sys.stderr)


def read_settings(**overrides: object) -> Settings:
    """The settings, with some laid over them. Raises Complaint that names what is wrong with them."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from safelight.settings import Settings, config_file, lacks_its_file

    try:
        if lacks_its_file():
            raise Complaint(f"SAFELIGHT_CONFIG names `{config_file()}`, and there is no such file")
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise wrong_setting(error) from None
    except SettingsError as error:  # it names the setting; its cause quotes what is written there
        raise Complaint(f"a variable SAFELIGHT_… holds no JSON, as lists and tables are written: {error}") from None
    except (ValueError, OSError) as error:
        raise Complaint(f"{config_file()}: {error}") from error


def exit_code(process: Callable[[], int]) -> int:
    """Of a process, once it has ended. Raises Complaint for what an operator has to put right."""
    from pydantic import ValidationError

    from safelight.db.placement import EmbeddedServerError
    from safelight.db.provide import DatabaseUnusable
    from safelight.providers.registry import InvalidConfiguration

    try:
        return process()
    except ValidationError as error:
        raise wrong_setting(error) from None
    except (DatabaseUnusable, EmbeddedServerError, InvalidConfiguration) as error:
        raise Complaint(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise unusable(error) from error


def unusable(error: OSError) -> Complaint:
    """Names the file or folder that cannot be read, written or made."""
    return Complaint(f"`{error.filename}` cannot be used: {error.strerror}")


def wrong_setting(error: ValidationError) -> Complaint:
    """Names the first setting that is wrong, without repeating its value, which may be a key."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return Complaint(f"setting {field + ': ' if field else ''}{first['msg']}")
