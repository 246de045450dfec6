"""What a person at the terminal can put right: said in one line on standard error, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from safelight.domain.errors import SafelightError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from safelight.settings import Settings


class Complaint(SafelightError):
    """The command cannot go on; the message says what to do."""

    slug = "complaint"
    exit_code: ClassVar[int] = 1


class Misconfigured(Complaint):
    """It is the configuration that has to be changed: started again, the command would come to the same."""

    exit_code = os.EX_CONFIG


def complain(error: SafelightError) -> int:
    """One line on standard error; what the process has to exit with."""
    print("safelight:", *str(error).split(), file=sys.stderr)
    return error.exit_code if isinstance(error, Complaint) else 1


def read_settings(**overrides: object) -> Settings:
    """The settings, with some laid over them. Raises Misconfigured, which names what is wrong with them."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from safelight.settings import Settings, config_file, lacks_its_file

    try:
        if lacks_its_file():
            raise Misconfigured(f"SAFELIGHT_CONFIG names `{config_file()}`, and there is no such file")
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise wrong_setting(error) from None
    except SettingsError as error:  # it names the setting; its cause quotes what is written there
        raise Misconfigured(f"a variable SAFELIGHT_… holds no JSON, as lists and tables are written: {error}") from None
    except (ValueError, OSError) as error:
        raise Misconfigured(f"{config_file()}: {error}") from error


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
    except InvalidConfiguration as error:
        raise Misconfigured(str(error)) from error
    except (DatabaseUnusable, EmbeddedServerError) as error:
        raise Complaint(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise unusable(error) from error


def unusable(error: OSError) -> Complaint:
    """Names the file or folder that cannot be read, written or made."""
    return Complaint(f"`{error.filename}` cannot be used: {error.strerror}")


def wrong_setting(error: ValidationError) -> Misconfigured:
    """Names the first setting that is wrong, without repeating its value, which may be a key."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    why = (
        "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    )
    return Misconfigured(f"setting {field}: {why}" if field else why)
