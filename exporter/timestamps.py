"""The time that is written into what is exported."""

import os
import time

from headgate.exporter.errors import ExportError

#: The end of the year 9999, the last second that RFC 3339 can write.
_LAST = 253_402_300_799


def utc_now() -> str:
    """Return the time in UTC as RFC 3339 has it; that of SOURCE_DATE_EPOCH where it is set.

    https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        ExportError: SOURCE_DATE_EPOCH is no number, or one beyond the year 9999.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", str(int(time.time())))
    if not epoch.isdecimal() or int(epoch) > _LAST:
        raise ExportError(f"SOURCE_DATE_EPOCH is '{epoch}'; give it the seconds since 1970, or unset it")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
